"""The adaptive α: SFPO while the policy's entropy stays in its rolling band, plain GRPO once it leaves it."""

import math
from collections import deque
from typing import Any, Literal, get_args

Sides = Literal["two", "upper"]
Mode = Literal["exit", "reversible"]


class EntropyGate:
    """Decides α for each SFPO step from the entropy of the policy that sampled its rollouts.

    H_s is the mean per-token entropy (in nats) of the policy at θ_0 on the completion tokens of step s. Over the last
    `window` values with mean μ_s and (population) standard deviation σ_s, Z_s = (H_s - μ_s) / σ_s. While fewer than
    `window` values are known α stays open. When Z_s leaves the band of `threshold`, α becomes 0: the step is plain
    GRPO. Source: arXiv 2510.04072, adaptive α scheduling; its runs use window 30, threshold 1 and both sides. The defaults
    here were chosen by measurement (docs/evidence/results.md): they stay open while entropy falls and close soon after it rises.

    Args:
        alpha: α while the gate is open, in [0, 1].
        window: ω, how many entropies the band is computed from, at least 2.
        threshold: τ, the half-width of the band in standard deviations, above 0.
        sides: "two" closes on |Z| ≥ τ, as the paper writes it; "upper" on Z ≥ τ only, as the authors' released code
            does. An entropy that drifts one way fills the window with a trend, and then |Z| ≥ 1 almost at once; so at
            τ = 1 "two" closes within a few steps of the window filling, while "upper" ignores a steady decline.
        mode: "exit" closes for good, as in the paper and the released code; "reversible" closes only the steps whose
            own Z is outside the band.
        includes_current: whether the window holds H_s itself. True follows the released code (which, besides, acts one
            step late; here α is decided before the same step's update). With False, H_s is judged against the values
            before it, which makes Z larger, without bound when those do not vary.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        window: int = 10,
        threshold: float = 1.5,
        sides: Sides = "upper",
        mode: Mode = "exit",
        includes_current: bool = True,
    ) -> None:
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha must be in [0, 1], got {alpha}")
        if window < 2:
            raise ValueError(f"the entropy window must hold at least 2 values, got {window}")
        if not threshold > 0.0:
            raise ValueError(f"the entropy threshold must be above 0, got {threshold}")
        if sides not in get_args(Sides):
            raise ValueError(f"sides must be one of {get_args(Sides)}, got {sides!r}")
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {get_args(Mode)}, got {mode!r}")
        self.alpha = alpha
        self.window = window
        self.threshold = threshold
        self.sides = sides
        self.mode = mode
        self.includes_current = includes_current
        self.closed = False
        """Whether the last step was, or in "exit" mode all later steps will be, plain GRPO."""
        self.mean: float | None = None
        """μ of the last decision, or None while the window fills."""
        self.std: float | None = None
        """σ of the last decision, or None while the window fills."""
        self.z: float | None = None
        """Z of the last decision, or None while the window fills."""
        self._entropies: deque[float] = deque(maxlen=window)

    def update(self, entropy: float) -> float:
        """Take in H_s (nats per token) and return α for step s.

        Raises:
            ValueError: the entropy is NaN or infinite; the gate's state is unchanged.
        """
        if not math.isfinite(entropy):
            raise ValueError(f"the policy's entropy is {entropy}: the model has diverged or no token was scored")
        if self.includes_current:
            self._entropies.append(entropy)
        # One that may open again is open whenever the entropy is not outside, also without a band to be outside of.
        self.closed = self._is_outside(entropy) or (self.mode == "exit" and self.closed)
        if not self.includes_current:
            self._entropies.append(entropy)
        return 0.0 if self.closed else self.alpha

    def _is_outside(self, entropy: float) -> bool:
        if len(self._entropies) < self.window:
            self.mean = self.std = self.z = None
            return False
        self.mean = math.fsum(self._entropies) / self.window
        self.std = math.sqrt(math.fsum((value - self.mean) ** 2 for value in self._entropies) / self.window)
        deviation = entropy - self.mean
        rounding = 1e-12 * max(1.0, abs(self.mean))
        if self.std > rounding:
            self.z = deviation / self.std
        else:  # a constant entropy, up to the rounding of its mean
            self.z = 0.0 if abs(deviation) <= rounding else math.copysign(math.inf, deviation)
        return (abs(self.z) if self.sides == "two" else self.z) >= self.threshold

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep, as plain JSON values."""
        return {"entropies": list(self._entropies), "closed": self.closed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; a larger saved window keeps its latest values."""
        self._entropies = deque(state["entropies"], maxlen=self.window)
        self.closed = bool(state["closed"])
