"""GXPO, SFPO's successor: two fast passes from which the point that K passes would reach is extrapolated.

With g_0 and g_1 the gradients of the two fast passes, all arithmetic by coordinate:

    ratio         r = g_1 / g_0, kept in [-2, 3]
    scale         s = S_K(r) / S_2(r), kept in [1, K/2 + 1], where S_n(r) = 1 + r + … + r^(n-1)
    reposition    θ̃ = θ_0 + α s (θ_2 - θ_0)
    slow pass     θ_next = θ̃ - η ∇L(θ̃)

Source: Gradient Extrapolation-Based Policy Optimization, arXiv 2605.06755. For plain gradient descent on a quadratic whose
Hessian is diagonal, θ_0 + s (θ_2 - θ_0) is exactly θ_K inside the bounds. What the paper leaves open follows its authors'
code, github.com/SwapniL-afk-now/final-gxpo: the gradients are those of the optimizer's steps, after clipping; s = 1 where
g_0, or S_2, is 0 to within 1e-8; and the slow pass starts from the optimizer's state at θ_0. Its authors have had several
rules for when to go back to GRPO; the one of theirs that can be had here is the entropy gate, which is outside this module.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sfpo.slow_fast import SlowFastReport
from sfpo.snapshot import Snapshot, Sums, chunks, copies_of, local, squares

FAST_PASSES = 2
RESTORED, RUNNING = "restored", "running"
MOMENTS = (RESTORED, RUNNING)
"""What becomes of the optimizer's state before the slow pass."""

_RATIOS = (-2.0, 3.0)
_ZERO = 1e-8


@dataclass
class GXPOReport(SlowFastReport):
    """What one GXPO step did: `distance` is ‖θ_2 - θ_0‖, and `bytes_held` counts every copy, at its most.

    `extrapolation` is the mean of the scale s over all trainable weights.
    """

    extrapolation: float = 1.0


class GXPO:
    """Wraps the update step of a training loop into a GXPO step.

    Args:
        optimizer: whose weights are moved, and whose state is restored. DTensor shards (FSDP2) are fine.
        virtual_steps: K, the passes that are extrapolated to, at least 2. 5 in the authors' code, 10 in their larger runs.
        alpha: how much of the way to the extrapolated point is kept, in [0, 1]; 0.5 in the authors' code. At 0 the step is
            one plain pass.
        moments: "restored" puts the optimizer's state back to that of θ_0 before the slow pass, so that the fast passes
            leave no trace in it; "running" lets it run on through all three passes, as SFPO does.
        snapshot_device: where the copies live during a step: None for each weight's own device, "cpu" for host memory.

    Raises:
        ValueError: an argument outside its range, or no trainable weight.

    `report` describes the last step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        virtual_steps: int = 5,
        alpha: float = 0.5,
        moments: str = RESTORED,
        snapshot_device: str | torch.device | None = None,
    ) -> None:
        check(virtual_steps, alpha, moments)
        self._optimizer = optimizer
        self._parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        if not self._parameters:
            raise ValueError("no parameter requires a gradient: there is nothing to train")
        self.virtual_steps = virtual_steps
        self.alpha = alpha
        self.moments = moments
        self.snapshot_device = None if snapshot_device is None else torch.device(snapshot_device)
        self.report = GXPOReport(alpha)

    @contextmanager
    def trajectory(self, fast_pass: Callable[[], Any]) -> Iterator[None]:
        """Run the two fast passes and the reposition, then the body of the `with` block, which makes the slow pass.

        Args:
            fast_pass: makes one pass over the batch and leaves the gradient of its optimizer step in the weights.

        If `fast_pass` or the block raises, the weights are put back to θ_0 (so is the optimizer's state, where it is to be
        restored) and the error propagates. Until the reposition a step holds θ_0, g_0 and, where it is to be restored, the
        optimizer's state; from then on θ_0 alone.
        """
        self.report = report = GXPOReport(self.alpha)
        if self.alpha == 0.0:
            yield
            return
        start = Snapshot(self._parameters, self.snapshot_device)
        state = _State(self._optimizer, self.snapshot_device) if self.moments == RESTORED else None
        try:
            try:
                report.passes.append(fast_pass())
                first = copies_of([_gradient(parameter) for parameter in self._parameters], self.snapshot_device)
                report.bytes_held = start.bytes_held + sum(gradient.nbytes for gradient in first)
                report.bytes_held += 0 if state is None else state.bytes_held
                report.passes.append(fast_pass())
                self._reposition(start, first)
            finally:
                if state is not None:
                    state.restore()
            del first, state
            yield
        except BaseException:
            start.restore()
            raise

    @torch.no_grad()
    def _reposition(self, start: Snapshot, first: list[Tensor]) -> None:
        """Move the weights from θ_2 to θ̃, chunk by chunk, so that no temporary has a (dense) weight's size."""
        moved, norm, scales = Sums(), Sums(), Sums()
        for parameter, origins, gradients in zip(self._parameters, start.copies, first, strict=True):
            weights = local(parameter)
            for theta, origin, g0, g1 in chunks(weights, origins, gradients, _gradient(parameter)):
                origin = origin.to(theta.device, non_blocking=True)
                scale = extrapolation(g0.to(theta.device, non_blocking=True), g1, self.virtual_steps)
                step = theta - origin
                norm.add(squares(origin), parameter)
                moved.add(squares(step), parameter)
                scales.add(scale, parameter)
                theta.copy_(origin + self.alpha * scale * step)
        self.report.distance, self.report.start_norm = math.sqrt(moved.total()), math.sqrt(norm.total())
        self.report.extrapolation = scales.total() / sum(parameter.numel() for parameter in self._parameters)


class _State:
    """A copy of an optimizer's state, tensors and numbers; restored in place."""

    def __init__(self, optimizer: Optimizer, device: torch.device | None) -> None:
        self._optimizer = optimizer
        self._numbers = {
            parameter: {name: value for name, value in state.items() if not isinstance(value, Tensor)}
            for parameter, state in optimizer.state.items()
        }
        tensors = [
            value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
        ]
        self._tensors = Snapshot(tensors, device)
        self.bytes_held = self._tensors.bytes_held

    def restore(self) -> None:
        self._tensors.restore()
        for parameter in list(self._optimizer.state):
            if parameter in self._numbers:
                self._optimizer.state[parameter].update(self._numbers[parameter])
            else:  # the first step of all made it
                del self._optimizer.state[parameter]


def extrapolation(g0: Tensor, g1: Tensor, virtual_steps: int) -> Tensor:
    """The scale s of each coordinate, in fp32 at least, from the gradients of the two fast passes."""
    precision = torch.promote_types(g0.dtype, torch.float32)
    g0, g1 = g0.to(precision), g1.to(precision)
    ratio = (g1 / g0).clamp_(*_RATIOS)
    total = torch.ones_like(ratio)
    for _ in range(virtual_steps - 1):
        total.mul_(ratio).add_(1.0)
    two = ratio.add_(1.0)
    unknown = (g0.abs() <= _ZERO) | (two.abs() <= _ZERO)
    return total.div_(two).clamp_(1.0, virtual_steps / 2 + 1).masked_fill_(unknown, 1.0)


def check(virtual_steps: int, alpha: float, moments: str) -> None:
    """Refuse settings out of their range.

    Raises:
        ValueError: naming the first of them.
    """
    if virtual_steps < FAST_PASSES:
        raise ValueError(f"inner_steps (K) must be at least {FAST_PASSES} for GXPO, got {virtual_steps}")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1] for GXPO, got {alpha}")
    if moments not in MOMENTS:
        raise ValueError(f"moments must be one of {', '.join(MOMENTS)}, got {moments!r}")


def _gradient(parameter: Tensor) -> Tensor:
    """The gradient of the last pass, of a DTensor this process's shard; 0 where the pass made none."""
    gradient = parameter.grad
    return torch.zeros_like(local(parameter)) if gradient is None else local(gradient)
