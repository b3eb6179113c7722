"""Settings of the machine that make training on a CPU two to ten times faster, chosen for the user."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

SMALL = 5_000_000
"""Number of weights below which threads mostly wait for one another, and fused attention or oneDNN cost more than they
save."""

SPINS = "10000"
"""How often an idle thread of GNU's OpenMP checks for work before it sleeps: this takes a tenth of a millisecond."""


def before_torch() -> None:
    """Set the environment variables that torch reads when it is imported.

    By default threads that wait for one another spin for a long time, and on a machine with other work this can make a step
    ten times as long. Threads that sleep at once cost a tenth of a step on a quiet machine. So they spin for as long as
    waking up takes.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def prepare_cpu(model: Any, attn_implementation: str | None = None, *, trains_in_bf16: bool = False) -> str:
    """Set up this process and a transformers model to run on the CPU, and return a line that names the choices.

    Args:
        attn_implementation: the user's choice, which is kept.
        trains_in_bf16: replace fused attention with that of `cpu_attention.py`. Parts of transformers that look attention up
            by name, such as continuous batching, reject it.
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
        chosen.append("attention as plain matrix products")
    chosen.append("1 thread" if torch.get_num_threads() == 1 else f"{torch.get_num_threads()} threads")
    if _is_amd() and not small:
        # This routes fp32 products through oneDNN, because the default, MKL, reserves its best code for Intel's processors.
        # The results are as accurate: oneDNN rounds to bf16 only on processors with units for it, such as AMX or those of
        # ARM, and AMD's have none. Small models stay with MKL, since oneDNN's set-up takes longer than their products.
        torch.set_float32_matmul_precision("medium")
        chosen.append("matrix products by oneDNN")
    _keep_freed_memory()
    return ", ".join(chosen)


def bf16_is_faster(cpu: str | None = None) -> bool:
    """Whether the CPU multiplies bf16 matrices faster than fp32 ones.

    CPUs with AMX do, and so do AMD's processors with AVX512-BF16. An Intel Xeon with AVX512-BF16 is slower in bf16 if it has
    no AMX, or if a virtual machine hides AMX.

    Args:
        cpu: the machine's description in the form of Linux's `/proc/cpuinfo`; by default that of this machine.
    """
    words = set((_this_cpu() if cpu is None else cpu).split())
    return "amx_bf16" in words or {"AuthenticAMD", "avx512_bf16"} <= words


def _threads_of_small() -> int:
    """The number of threads for a small model, whose operations take some ten microseconds each."""
    # A second thread pays off if it still spins when its turn comes (see `before_torch`). Only GNU's OpenMP, which torch uses
    # on Linux, can spin for so short a time; the others sleep at once, and waking them takes longer than the work.
    return 2 if sys.platform == "linux" else 1


def _is_amd() -> bool:
    return "AuthenticAMD" in _this_cpu()


def _this_cpu() -> str:
    cpu_info = Path("/proc/cpuinfo")
    return cpu_info.read_text() if cpu_info.exists() else platform.processor()


def _keep_freed_memory() -> None:
    """Have glibc keep large freed buffers: if it returned their pages, each step would have to fault them in again."""
    if platform.libc_ver()[0] != "glibc":
        return
    # From malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX.
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20), (mmap_max, 0)):
        mallopt(parameter, value)
