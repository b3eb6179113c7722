"""Which of a machine's accelerators a process sees, decided before it uses any."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK", "npu": "ASCEND_RT_VISIBLE_DEVICES"}
"""The environment variable by which each kind of accelerator is hidden from a process."""


@contextmanager
def one_device(index: int) -> Iterator[None]:
    """Processes that are spawned within see one accelerator of those that this one sees, counted round.

    A process that only chose a current device would not keep it: transformers goes back to the first, and with several in
    sight wraps the model into `DataParallel`, which neither SFPO nor TRL supports. Without an accelerator nothing happens.
    """
    variable = _variable()
    if variable is None:
        yield
        return
    before = os.environ.get(variable)
    os.environ[variable] = _device(index, before)
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def keep_one_device() -> int:
    """Hide all accelerators but the first from this process, unless a launcher gave it one; returns how many were hidden.

    To be called before anything is put on an accelerator.
    """
    variable = _variable()
    if variable is None or "LOCAL_RANK" in os.environ:
        return 0
    hidden = torch.accelerator.device_count() - 1
    if hidden:
        os.environ[variable] = _device(0, os.environ.get(variable))
    return hidden


def accelerator() -> torch.device | None:
    """The machine's accelerator, None where there is only the CPU."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


def _variable() -> str | None:
    found = accelerator()
    return None if found is None else _VISIBLE.get(found.type)


def _device(index: int, visible: str | None) -> str:
    """The name of a device among the visible ones, each a number or an identifier."""
    count = torch.accelerator.device_count()
    return (visible.split(",") if visible else [str(device) for device in range(count)])[index % count]
