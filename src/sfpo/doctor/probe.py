"""Tries torch, in a process of its own that may fail, hang or crash; prints what it found as one line of JSON."""

import json
from typing import Any

from sfpo.model import cpu


def main() -> None:
    """Import torch, multiply on the device that training would use, and make one slow-fast step there."""
    cpu.before_torch()
    import torch

    from sfpo.model.devices import accelerator
    from sfpo.records.provenance import provenance

    device = accelerator() or torch.device("cpu")
    found = {
        "torch": torch.__version__,
        "built_for": torch.version.cuda or getattr(torch.version, "hip", None),
        "device": device.type,
        "devices": torch.accelerator.device_count() if device.type != "cpu" else 0,
        "free_memory": _free_memory(device),
        "wrong_products": [name for name in ("float32", "bfloat16") if not _multiplies(device, getattr(torch, name))],
        "steps": _steps(device),
        "provenance": provenance(),
    }
    print(json.dumps(found))


def _free_memory(device: Any) -> list[int] | None:
    """Bytes free on an accelerator, and all of its bytes; None where it does not say."""
    import torch

    if device.type == "cpu":
        return None
    ask = getattr(torch.get_device_module(device), "mem_get_info", None)
    return None if ask is None else list(ask())


def _multiplies(device: Any, dtype: Any) -> bool:
    """Whether a product of matrices is right; both formats hold its values exactly."""
    import torch

    ones = torch.ones(64, 64, device=device, dtype=dtype)
    return bool((ones @ ones == 64).all())


def _steps(device: Any) -> bool:
    """Whether a slow-fast step ends where its equation says: 3 passes, half of the way back, 1 pass."""
    import torch

    from sfpo import SlowFast

    weights = torch.nn.Parameter(torch.zeros(1000, device=device))

    def update() -> None:
        with torch.no_grad():
            weights.add_(1)

    SlowFast([weights], inner_steps=3, alpha=0.5).step(update)
    return bool((weights == 2.5).all())
