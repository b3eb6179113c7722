"""Multi-epoch training that stops early on KL, as PPO's implementations do: what the trust region is compared with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TOLERANCE = 1.5
"""How far above the target the KL may be, by the usual rule."""


@dataclass(frozen=True)
class KLStop:
    """An `AlphaRule` that keeps all of the trajectory, which ends before the first optimizer step from beyond 1.5 targets.

    For passes that return their KL to π_θ0, in nats a token, and make their optimizer steps only where `is_outside` says
    no. No slow pass follows: K + 1 epochs are K + 1 fast passes.

    Raises:
        ValueError: `target_kl` is not above 0.
    """

    target_kl: float

    def __post_init__(self) -> None:
        if not self.target_kl > 0.0:
            raise ValueError(f"target_kl must be above 0, got {self.target_kl}")

    def is_outside(self, kl: float) -> bool:
        """Whether an optimizer step is to be left out.

        Raises:
            ValueError: the KL is NaN.
        """
        if math.isnan(kl):
            raise ValueError("the KL to the policy that sampled is NaN: the model has diverged or no token was scored")
        return kl > _TOLERANCE * self.target_kl

    def ends_trajectory(self, passes: Sequence[float]) -> bool:
        """Whether the last of these passes left an optimizer step out."""
        return self.is_outside(passes[-1])

    def alpha(self, passes: Sequence[float]) -> float:
        """All of the trajectory: 1."""
        return 1.0

    def corrects(self, passes: Sequence[float]) -> bool:
        """No slow pass: the epochs are all there is."""
        return False

    def shortened(self, alpha: float, measured: float) -> float:
        """No line search."""
        return alpha
