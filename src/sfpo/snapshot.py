"""Copies of tensors at θ_0, and arithmetic between them and the weights in chunks."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial

CPU_CHUNK = 2**20
"""Weights repositioned at a time on a CPU: few enough for its caches, enough to be worth waking its threads for."""
ACCELERATOR_CHUNK = 2**24
"""Weights repositioned at a time on an accelerator: enough to keep it busy, 128 MiB of temporaries in fp32."""


class Snapshot:
    """One copy of some tensors as they are now, such as the trainable weights at θ_0.

    Args:
        tensors: what is copied; of a DTensor the shard that this process holds.
        device: where the copies live; None for each tensor's own device.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device | None) -> None:
        self._tensors = tensors
        self.copies = copies_of(tensors, device)
        self.bytes_held = sum(copy.nbytes for copy in self.copies)

    @torch.no_grad()
    def reposition(self, alpha: float) -> tuple[float, float]:
        """Move the weights to θ_0 + α (θ - θ_0), in place; returns ‖θ - θ_0‖ and ‖θ_0‖.

        Chunk by chunk, so that each is read from memory once for all three, and no temporary has a (dense) weight's size.
        """
        moved, start = Sums(), Sums()
        for parameter, copy in zip(self._tensors, self.copies, strict=True):
            for weights, origin in chunks(local(parameter), copy):
                origin = origin.to(weights.device, non_blocking=True)
                start.add(squares(origin), parameter)
                moved.add(squares(weights - origin), parameter)
                if alpha != 1.0:
                    weights.lerp_(origin, 1.0 - alpha)
        return math.sqrt(moved.total()), math.sqrt(start.total())

    @torch.no_grad()
    def restore(self) -> None:
        """Put the tensors back to what they were, wherever they went."""
        for tensor, copy in zip(self._tensors, self.copies, strict=True):
            local(tensor).copy_(copy, non_blocking=True)


def local(tensor: Tensor) -> Tensor:
    """The shard of a DTensor that this process holds (sharing its memory), or the tensor itself."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    return tensor.detach()


def copies_of(tensors: Sequence[Tensor], device: torch.device | None) -> list[Tensor]:
    """Copies on a device, of DTensors those of the shards here; None for each tensor's own device."""
    copies = [_copy(local(tensor), device) for tensor in tensors]
    for accelerator in {t.device for t, c in zip(tensors, copies, strict=True) if t.device != c.device}:
        # Copies to the host are asynchronous; the first optimizer step must not overtake them.
        if accelerator.type == "mps":  # it has one stream
            torch.mps.synchronize()
        else:
            torch.get_device_module(accelerator).current_stream(accelerator).synchronize()
    return copies


def _copy(tensor: Tensor, device: torch.device | None) -> Tensor:
    if device is None or device.type == tensor.device.type:
        return tensor.clone()
    # PyTorch keeps pinned memory that is freed, so only the first step of a run has the host allocate any.
    copy = torch.empty_like(tensor, device=device, pin_memory=device.type == "cpu")
    return copy.copy_(tensor, non_blocking=True)


def chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matching views of local tensors of one shape, the first of them weights; together they cover all of each."""
    # Transposed weights are flat too, with their dimensions in another order, and so are their copies.
    weights = tensors[0]
    order = sorted(range(weights.dim()), key=weights.stride, reverse=True)
    tensors = tuple(tensor.permute(order) for tensor in tensors)
    if not all(tensor.is_contiguous() for tensor in tensors):
        yield tensors
        return
    size = CPU_CHUNK if weights.device.type == "cpu" else ACCELERATOR_CHUNK
    yield from zip(*(torch.split(tensor.view(-1), size) for tensor in tensors), strict=True)


def squares(local: Tensor) -> Tensor:
    """The squares of a tensor's elements, in fp32 at least: ten million of them do not fit bf16."""
    return local.to(torch.promote_types(local.dtype, torch.float32)).square()


class Sums:
    """The sum of tensors that may lie on several devices, or be shards of DTensors."""

    def __init__(self) -> None:
        self._summands: dict[Any, list[Tensor]] = {}

    def add(self, local: Tensor, parameter: Tensor) -> None:
        """Add the elements of a tensor that lies where this process holds (a part of) `parameter`."""
        shared = (parameter.device_mesh, parameter.placements) if isinstance(parameter, DTensor) else None
        # `sum` adds pairwise, where a CPU's dot product and `vector_norm` lose the fifth digit of a million.
        self._summands.setdefault((local.device, shared), []).append(local.sum().float())

    def total(self) -> float:
        """The sum over all processes that hold a shard, each shard counted once."""
        total = 0.0
        for (_, shared), summands in self._summands.items():
            summed = torch.stack(summands).sum()
            if shared is not None:
                mesh, placements = shared
                partial = [placement if placement.is_replicate() else Partial() for placement in placements]
                summed = DTensor.from_local(summed, mesh, partial).full_tensor()
            total += float(summed)
        return total
