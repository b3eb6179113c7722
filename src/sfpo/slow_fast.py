"""The algorithm: K fast passes over one batch of rollouts, a step back towards the start, one slow pass.

With L the host's own loss (GRPO, RLOO, ...) and one pass of its own optimizer written as `- η ∇L`:

    fast trajectory   θ_{k+1} = θ_k - η ∇L(θ_k),  k = 0 … K-1
    reposition        θ̃ = θ_0 + α (θ_K - θ_0)
    slow correction   θ_next = θ̃ - η ∇L(θ̃)

Source: Slow-Fast Policy Optimization, arXiv 2510.04072, stages I to III. The optimizer's moments run on through all
K + 1 passes and are not repositioned. With α = 0 the whole step is one plain pass.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial

Result = TypeVar("Result")

CPU_CHUNK = 2**20
"""Weights repositioned at a time on a CPU: few enough for its caches, enough to be worth waking its threads for."""
ACCELERATOR_CHUNK = 2**24
"""Weights repositioned at a time on an accelerator: enough to keep it busy, 128 MiB of temporaries in fp32."""


@dataclass
class SlowFastReport:
    """What one SFPO step did.

    `distance` is ‖θ_K - θ_0‖ over the trainable weights, before the reposition, and `start_norm` ‖θ_0‖ (both 0 when no
    trajectory was taken): of all shards of a DTensor, otherwise of what this process was given. `passes` holds what
    `update` returned, in order. `bytes_held` is the size of the copy of θ_0 on this process.
    """

    alpha: float
    distance: float = 0.0
    start_norm: float = 0.0
    bytes_held: int = 0
    passes: list[Any] = field(default_factory=list)

    @property
    def drift(self) -> float:
        """How far the fast passes went, ‖θ_K - θ_0‖ / ‖θ_0‖."""
        return self.distance / max(self.start_norm, torch.finfo(torch.float32).tiny)


class SlowFast:
    """Wraps the update step of a training loop into an SFPO step.

    Args:
        parameters: the weights that the optimizer steps from, fp32 master copies where the engine keeps them apart.
            DTensor shards (FSDP2) are fine; weights that need no gradient are left alone.
        inner_steps: K, the number of fast passes, at least 1. The paper uses 3.
        alpha: how much of the fast trajectory is kept, in [0, 1]. The paper uses 0.8. At 1 the step equals K + 1
            plain passes, at 0 it equals one.
        snapshot_device: where the copy of θ_0 lives during a step: None for each weight's own device, "cpu" for host
            memory, so that an accelerator's peak does not grow.

    Raises:
        ValueError: `inner_steps` below 1, `alpha` outside [0, 1], or no trainable weight.

    `report` describes the last step.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        inner_steps: int = 3,
        alpha: float = 0.8,
        snapshot_device: str | torch.device | None = None,
    ) -> None:
        if inner_steps < 1:
            raise ValueError(f"inner_steps (K) must be at least 1, got {inner_steps}")
        # A weight listed twice would be repositioned twice.
        self._parameters = list(dict.fromkeys(parameters))
        if not any(parameter.requires_grad for parameter in self._parameters):
            raise ValueError("no parameter requires a gradient: there is nothing to train")
        self.inner_steps = inner_steps
        self.alpha = _checked_alpha(alpha)
        self.snapshot_device = None if snapshot_device is None else torch.device(snapshot_device)
        self.report = SlowFastReport(alpha=self.alpha)

    def step(self, update: Callable[[], Result], alpha: float | None = None) -> Result:
        """Take one SFPO step and return the result of its last pass.

        Args:
            update: makes one pass over the batch: forward, backward and optimizer step(s). Called K + 1 times, or once
                when `alpha` is 0.
            alpha: α for this step, such as an `EntropyGate` gives; None for the one given at construction.

        If `update` raises, the weights are put back to θ_0 (the optimizer's moments are not) and the error propagates.
        """
        with self.trajectory(update, alpha):
            result = update()
            self.report.passes.append(result)
        return result

    @contextmanager
    def trajectory(self, update: Callable[[], Any], alpha: float | None = None) -> Iterator[None]:
        """Run the fast passes and the reposition, then the body of the `with` block, which makes the slow pass.

        For hosts that make the slow pass with their own step. The copy of θ_0 is released when the block ends; if
        `update` or the block raises, the weights are put back to θ_0.
        """
        self.report = report = SlowFastReport(alpha=self.alpha if alpha is None else _checked_alpha(alpha))
        if report.alpha == 0.0:
            yield
            return
        snapshot = _Snapshot([p for p in self._parameters if p.requires_grad], self.snapshot_device)
        report.bytes_held = snapshot.bytes_held
        try:
            for _ in range(self.inner_steps):
                report.passes.append(update())
            report.distance, report.start_norm = snapshot.reposition(report.alpha)
            yield
        except BaseException:
            snapshot.restore()
            raise


class _Snapshot:
    """The one copy of the trainable weights at θ_0."""

    def __init__(self, parameters: list[Tensor], device: torch.device | None) -> None:
        self._parameters = parameters
        self._copies = [_copy(_local(parameter), device) for parameter in parameters]
        for accelerator in {p.device for p, c in zip(parameters, self._copies, strict=True) if p.device != c.device}:
            # Copies to the host are asynchronous; the first optimizer step must not overtake them.
            torch.get_device_module(accelerator).current_stream(accelerator).synchronize()
        self.bytes_held = sum(copy.nbytes for copy in self._copies)

    @torch.no_grad()
    def reposition(self, alpha: float) -> tuple[float, float]:
        """Move the weights to θ_0 + α (θ - θ_0), in place; returns ‖θ - θ_0‖ and ‖θ_0‖.

        Chunk by chunk, so that each is read from memory once for all three, and no temporary has a (dense) weight's size.
        """
        moved, start = _SumsOfSquares(), _SumsOfSquares()
        for parameter, copy in zip(self._parameters, self._copies, strict=True):
            for weights, origin in _chunks(_local(parameter), copy):
                origin = origin.to(weights.device, non_blocking=True)
                start.add(origin, parameter)
                moved.add(weights - origin, parameter)
                if alpha < 1.0:
                    weights.lerp_(origin, 1.0 - alpha)
        return math.sqrt(moved.total()), math.sqrt(start.total())

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights back to θ_0, wherever they went."""
        for parameter, copy in zip(self._parameters, self._copies, strict=True):
            _local(parameter).copy_(copy, non_blocking=True)


def _checked_alpha(alpha: float) -> float:
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    return float(alpha)


def _local(tensor: Tensor) -> Tensor:
    """The shard of a DTensor that this process holds (sharing its memory), or the tensor itself."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    return tensor.detach()


def _copy(tensor: Tensor, device: torch.device | None) -> Tensor:
    if device is None or device.type == tensor.device.type:
        return tensor.clone()
    copy = torch.empty_like(tensor, device=device, pin_memory=device.type == "cpu")
    return copy.copy_(tensor, non_blocking=True)


def _chunks(weights: Tensor, copy: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of matching views; together they cover both tensors."""
    # Transposed weights are flat too, with their dimensions in another order, and so is their copy.
    order = sorted(range(weights.dim()), key=weights.stride, reverse=True)
    weights, copy = weights.permute(order), copy.permute(order)
    if not (weights.is_contiguous() and copy.is_contiguous()):
        yield weights, copy
        return
    size = CPU_CHUNK if weights.device.type == "cpu" else ACCELERATOR_CHUNK
    yield from zip(torch.split(weights.view(-1), size), torch.split(copy.view(-1), size), strict=True)


class _SumsOfSquares:
    """The sum of squares of tensors that may lie on several devices, or be shards of DTensors."""

    def __init__(self) -> None:
        self._summands: dict[Any, list[Tensor]] = {}

    def add(self, local: Tensor, parameter: Tensor) -> None:
        """Add the squares of a tensor that lies where this process holds (a part of) `parameter`."""
        # Half-precision weights are summed in fp32: ten million squares do not fit bf16. `sum` adds pairwise, where a CPU's
        # dot product and `vector_norm` lose the fifth digit of a million.
        squares = local.to(torch.promote_types(local.dtype, torch.float32)).square()
        shared = (parameter.device_mesh, parameter.placements) if isinstance(parameter, DTensor) else None
        self._summands.setdefault((local.device, shared), []).append(squares.sum().float())

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
