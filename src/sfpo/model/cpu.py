"""Settings of the machine that make training on a CPU two to ten times faster, chosen for the user."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

SMALL = 5_000_000
"""Weights under which many threads wait for one another, and fused attention or oneDNN costs more than it saves."""

SPINS = "10000"
"""Times that GNU's OpenMP looks whether a thread has anything to do before it sleeps: a tenth of a millisecond."""


def before_torch() -> None:
    """What must be in the environment before torch is imported.

    Threads that wait for one another spin for long by default, and on a machine with other work a step can take ten times
    as long for it. To sleep at once costs a tenth of a step on a quiet one, so they spin for as long as waking takes.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def prepare_cpu(model: Any, attn_implementation: str | None = None, *, trains_in_bf16: bool = False) -> str:
    """Set this process and a transformers model up to run on the CPU, and say what was chosen.

    Args:
        attn_implementation: what the user asked for, which is kept.
        trains_in_bf16: take the attention of `cpu_attention.py` for the fused one. What of transformers knows its attentions
            by name, such as continuous batching, refuses it.
    """
    import torch

    chosen = []
    small = sum(parameter.numel() for parameter in model.parameters()) < SMALL
    if small:
        torch.set_num_threads(min(_threads_of_small(), torch.get_num_threads()))
        if attn_implementation is None:
            model.set_attn_implementation("eager")
            chosen.append("plain attention")
    elif trains_in_bf16 and attn_implementation is None and model.config._attn_implementation == "sdpa":
        from sfpo.model import cpu_attention

        model.set_attn_implementation(cpu_attention.register())
        chosen.append("attention by plain products")
    chosen.append("1 thread" if torch.get_num_threads() == 1 else f"{torch.get_num_threads()} threads")
    if _is_amd() and not small:
        # Routes fp32 products through oneDNN: MKL, the default, keeps its best code for Intel's processors. As accurate,
        # since oneDNN rounds to bf16 only where there are units for it (AMX, or an ARM's), which is not on AMD's. A small
        # model's products are over before oneDNN has looked up how to make them.
        torch.set_float32_matmul_precision("medium")
        chosen.append("oneDNN products")
    if _keep_freed_memory():
        chosen.append("freed memory kept")
    return ", ".join(chosen)


def bf16_is_faster(cpu: str | None = None) -> bool:
    """Whether the CPU multiplies bf16 matrices faster than fp32 ones.

    It does with AMX, and on AMD's processors with AVX512-BF16. An Intel Xeon that has AVX512-BF16 but no AMX (or whose virtual
    machine hides it) is slower in bf16.

    Args:
        cpu: the machine's description in the form of Linux's `/proc/cpuinfo`; this machine's if left out.
    """
    words = set((_this_cpu() if cpu is None else cpu).split())
    return "amx_bf16" in words or {"AuthenticAMD", "avx512_bf16"} <= words


def _threads_of_small() -> int:
    """How many threads a small model's operations, of some ten microseconds each, are worth handing to."""
    # A second one pays where it still spins when its turn comes (see `before_torch`): only GNU's OpenMP, which torch has on
    # Linux, spins for so short a time; the others are told to sleep at once, and waking takes longer than the work.
    return 2 if sys.platform == "linux" else 1


def _is_amd() -> bool:
    return "AuthenticAMD" in _this_cpu()


def _this_cpu() -> str:
    cpu_info = Path("/proc/cpuinfo")
    return cpu_info.read_text() if cpu_info.exists() else platform.processor()


def _keep_freed_memory() -> bool:
    """Have glibc keep large freed buffers, where it would hand their pages back to be faulted in again each step."""
    if platform.libc_ver()[0] != "glibc":
        return False
    # From malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX.
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    return all(
        mallopt(parameter, value) == 1
        for parameter, value in ((trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20), (mmap_max, 0))
    )
