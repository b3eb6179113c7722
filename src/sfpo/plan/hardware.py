"""Peak figures of a few devices from their datasheets, and the share of them that real work reaches."""

from dataclasses import dataclass

from sfpo.errors import UsageError
from sfpo.nearest import unknown


@dataclass(frozen=True)
class Hardware:
    """Peak figures of one device, in bytes, bytes/s and floating-point operations/s."""

    memory: float
    bandwidth: float
    flops: float
    """bf16 products with fp32 sums, dense."""
    link: float
    """Bandwidth to the other devices of a node, one direction."""
    host: float
    """Bandwidth to the host's memory."""
    is_cpu: bool = False


@dataclass(frozen=True)
class Efficiency:
    """How real work relates to the peak figures; `calibration` fits these values to a measured run."""

    rollout: float
    """Share of the peak figures that sampling reaches."""
    seconds_per_token: float
    """Seconds for launches and scheduling at each sampled position, whatever the batch size."""
    update: float
    """Share of the peak figures that forward and backward reach."""
    seconds_per_micro_batch: float
    """Seconds for each forward and backward, whatever its size."""


_GB, _TERA = 1e9, 1e12

# NVIDIA's datasheets (RTX 4090: the Ada whitepaper): dense bf16, one direction of NVLink or PCIe.
GPUS = {
    "a100-40gb": Hardware(40 * _GB, 1555 * _GB, 312 * _TERA, 300 * _GB, 32 * _GB),
    "a100-80gb": Hardware(80 * _GB, 2039 * _GB, 312 * _TERA, 300 * _GB, 32 * _GB),
    "h100-80gb": Hardware(80 * _GB, 3350 * _GB, 989 * _TERA, 450 * _GB, 64 * _GB),
    "h200-141gb": Hardware(141 * _GB, 4800 * _GB, 989 * _TERA, 450 * _GB, 64 * _GB),
    "l40s-48gb": Hardware(48 * _GB, 864 * _GB, 362 * _TERA, 32 * _GB, 32 * _GB),
    "rtx4090-24gb": Hardware(24 * _GB, 1008 * _GB, 165 * _TERA, 32 * _GB, 32 * _GB),
}

# Nominal figures that describe no particular processor: a calibration relates them to the one at hand.
CPU = Hardware(16 * _GB, 20 * _GB, 0.2 * _TERA, 5 * _GB, 10 * _GB, is_cpu=True)

NAMES = (*GPUS, "cpu")

# Assumed from published reports on GPUs, not measured. A calibration with your own run (--from) is more reliable.
ASSUMED = Efficiency(rollout=0.5, seconds_per_token=0.01, update=0.4, seconds_per_micro_batch=0.05)

# Fitted to results/demo/sfpo (the embedded model, two cores of an EPYC). A larger model needs its own calibration run.
CPU_MEASURED = Efficiency(rollout=1.376, seconds_per_token=0.00427, update=0.212, seconds_per_micro_batch=0.00344)


def named(name: str) -> Hardware:
    """The hardware of that name.

    Raises:
        UsageError: no such name.
    """
    if name not in NAMES:
        raise UsageError(unknown("hardware", name, NAMES))
    return CPU if name == "cpu" else GPUS[name]
