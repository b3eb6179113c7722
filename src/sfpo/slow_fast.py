"""The algorithm: K fast passes over one batch of rollouts, a step back towards the start, one slow pass.

With L the host's own loss (GRPO, RLOO, ...) and one pass of its own optimizer written as `- η ∇L`:

    fast trajectory   θ_{k+1} = θ_k - η ∇L(θ_k),  k = 0 … K-1
    reposition        θ̃ = θ_0 + α (θ_K - θ_0)
    slow correction   θ_next = θ̃ - η ∇L(θ̃)

Source: Slow-Fast Policy Optimization, arXiv 2510.04072, stages I to III. The optimizer's moments run on through all
K + 1 passes and are not repositioned. With α = 0 the whole step is one plain pass. There α is a number; here it may also
be a rule that chooses it from what the fast passes measured, such as `TrustRegion`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from sfpo.snapshot import Snapshot

Result = TypeVar("Result")


class AlphaRule(Protocol):
    """Chooses α from what the passes returned, after the fast trajectory; the step then obeys it."""

    def ends_trajectory(self, passes: Sequence[Any]) -> bool:
        """Whether the trajectory ends after these fast passes, though fewer than K."""

    def alpha(self, passes: Sequence[Any]) -> float:
        """α for this trajectory: at least 0, and above 1 to extrapolate it."""

    def corrects(self, passes: Sequence[Any]) -> bool:
        """Whether a slow pass follows the reposition."""

    def shortened(self, alpha: float, measured: Any) -> float:
        """The α to move back to, for what was measured at θ̃ with `alpha`; `alpha` itself to stay there."""


@dataclass
class SlowFastReport:
    """What one SFPO step did.

    `distance` is ‖θ_K - θ_0‖ over the trainable weights, before the reposition, and `start_norm` ‖θ_0‖ (both 0 when no
    trajectory was taken): of all shards of a DTensor, otherwise of what this process was given. `passes` holds what
    `update` returned, in order. `bytes_held` is the size of the copy of θ_0 on this process. `alpha` is the one of the
    reposition, after `line_search_steps` moves back along the line; NaN until a rule has chosen it.
    """

    alpha: float
    line_search_steps: int = 0
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
            plain passes, at 0 it equals one. Or a rule that chooses it, which may extrapolate with α above 1.
        snapshot_device: where the copy of θ_0 lives during a step: None for each weight's own device, "cpu" for host
            memory, so that an accelerator's peak does not grow.

    Raises:
        ValueError: `inner_steps` below 1, a number `alpha` outside [0, 1], or no trainable weight.

    `report` describes the last step.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        inner_steps: int = 3,
        alpha: float | AlphaRule = 0.8,
        snapshot_device: str | torch.device | None = None,
    ) -> None:
        if inner_steps < 1:
            raise ValueError(f"inner_steps (K) must be at least 1, got {inner_steps}")
        # A weight listed twice would be repositioned twice.
        self._parameters = list(dict.fromkeys(parameters))
        if not any(parameter.requires_grad for parameter in self._parameters):
            raise ValueError("no parameter requires a gradient: there is nothing to train")
        self.inner_steps = inner_steps
        self.alpha = _checked(alpha)
        self.snapshot_device = None if snapshot_device is None else torch.device(snapshot_device)
        self.report = _report(self.alpha)

    def step(
        self,
        update: Callable[[], Result],
        alpha: float | AlphaRule | None = None,
        measure: Callable[[], Any] | None = None,
    ) -> Result:
        """Take one SFPO step and return the result of its last pass.

        Args:
            update: makes one pass over the batch: forward, backward and optimizer step(s). Called K + 1 times, or once
                when `alpha` is 0. A rule is given what it returns.
            alpha: α for this step, such as an `EntropyGate` gives; None for the one given at construction.
            measure: what a rule's `shortened` is asked with, such as the KL by a forward without gradient: called at θ̃
                before the slow pass, and again after each move back. Without it the weights stay where the rule put them.

        If `update` raises, the weights are put back to θ_0 (the optimizer's moments are not) and the error propagates.
        """
        with self.trajectory(update, alpha) as line:
            while measure is not None and line.moves_back(measure()):
                pass
            if line.corrects:
                self.report.passes.append(update())
        result: Result = self.report.passes[-1]
        return result

    @contextmanager
    def trajectory(
        self, update: Callable[[], Any], alpha: float | AlphaRule | None = None
    ) -> Iterator["TrajectoryLine"]:
        """Run the fast passes and the reposition, then the body of the `with` block, which makes the slow pass.

        For hosts that make the slow pass with their own step. The copy of θ_0 is released when the block ends; if
        `update` or the block raises, the weights are put back to θ_0.
        """
        chosen = self.alpha if alpha is None else _checked(alpha)
        self.report = report = _report(chosen)
        if report.alpha == 0.0:
            yield TrajectoryLine(None, chosen, report)
            return
        snapshot = Snapshot([p for p in self._parameters if p.requires_grad], self.snapshot_device)
        report.bytes_held = snapshot.bytes_held
        try:
            for _ in range(self.inner_steps):
                report.passes.append(update())
                if not isinstance(chosen, float) and chosen.ends_trajectory(report.passes):
                    break
            if not isinstance(chosen, float):
                report.alpha = _at_least_zero(chosen.alpha(report.passes))
            report.distance, report.start_norm = snapshot.reposition(report.alpha)
            yield TrajectoryLine(snapshot, chosen, report)
        except BaseException:
            snapshot.restore()
            raise


class TrajectoryLine:
    """The line from θ_0 through θ_K while the weights are at θ̃ on it, for a rule that may move them back.

    `corrects` says whether the slow pass is to be made: always, unless a rule has it otherwise.
    """

    def __init__(self, snapshot: Snapshot | None, alpha: float | AlphaRule, report: SlowFastReport) -> None:
        self._snapshot = snapshot
        self._alpha = alpha
        self._report = report
        self.corrects = isinstance(alpha, float) or alpha.corrects(report.passes)

    def moves_back(self, measured: Any) -> bool:
        """Ask the rule about what was measured at θ̃, and obey it: whether the weights were moved, in place.

        A gradient made at the θ̃ of before is then void.
        """
        if self._snapshot is None or isinstance(self._alpha, float):
            return False
        alpha = self._alpha.shortened(self._report.alpha, measured)
        if alpha >= self._report.alpha:
            return False
        self._snapshot.reposition(_at_least_zero(alpha) / self._report.alpha)
        self._report.alpha = alpha
        self._report.line_search_steps += 1
        return True


def _checked(alpha: float | AlphaRule) -> float | AlphaRule:
    if isinstance(alpha, Real):  # an int, or one of NumPy's numbers
        alpha = float(alpha)
    if not isinstance(alpha, float):
        return alpha
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    return alpha


def _report(alpha: float | AlphaRule) -> SlowFastReport:
    """An empty report; a rule has yet to choose its α."""
    return SlowFastReport(alpha=alpha if isinstance(alpha, float) else math.nan)


def _at_least_zero(alpha: float) -> float:
    if not 0.0 <= alpha < math.inf:
        raise ValueError(f"a rule must choose a finite alpha of at least 0, got {alpha}")
    return float(alpha)
