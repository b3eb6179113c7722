"""α from a KL budget: the step back as a trust region, so that no learning rate has to be tuned for it.

The policy at which the slow gradient is taken should be as far from the one that sampled as its rollouts can be trusted,
and no farther: a small learning rate should not waste them, a large one not leave them. Along the line
θ(α) = θ_0 + α (θ_K - θ_0) the KL to π_θ0 grows as α², so

    α = min(α_max, √(δ / KL_K))

puts θ̃ at the edge of the region KL ≤ δ, beyond θ_K (α > 1) where the trajectory was short. Not from the SFPO paper, whose
α is a number; its relatives are TRPO's line search and the KL stop of PPO's epochs.

What is measured: every pass k measures KL_k at θ_k (nats a token, estimator r - 1 - log r), and the slow pass the KL that
was reached at θ̃. What is assumed: KL_K, which no pass has measured, follows the power law through the last two passes,
with an exponent kept in [1, 3]; a line search moves back where that failed by more than a factor of two. Where it fails:
the KL speaks of the tokens that it was measured on, and extrapolation moves all others too, unseen. The fewer completions
have an advantage, the more are unseen, so the budget shrinks with their share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

_EXPONENTS = (1.0, 3.0)
"""KL grows as the square of a straight path's length; a curved or noisy one stays between these."""
_TOLERANCE = 2.0
"""How far above the budget θ̃ may lie before the weights move back: a second gradient costs a pass."""
_FURTHEST_BACK = 0.1
"""The smallest factor of one move back along the line."""


@dataclass(frozen=True)
class TrustRegion:
    """An `AlphaRule` for passes that return their KL to π_θ0, in nats a token.

    A loop of one's own asks `is_outside` between a pass's gradient and its optimizer step, and leaves the step out where
    the answer is yes; the trajectory then ends at the weights that were measured:

        def update() -> float:
            kl = forward_and_backward()
            if not trust_region.is_outside(kl):
                optimizer.step()
            return kl

    Args:
        kl_budget: δ, above 0.
        alpha_max: the largest α, at least 1.
        mini_batches: M, the optimizer steps of a pass. The KL of a pass is then the mean over its mini-batches, each
            measured at the weights it was made at.

    Raises:
        ValueError: an argument out of its range.
    """

    kl_budget: float = 0.03
    alpha_max: float = 16.0
    mini_batches: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.kl_budget < math.inf:
            raise ValueError(f"kl_budget must be above 0, got {self.kl_budget}")
        if not 1.0 <= self.alpha_max < math.inf:
            raise ValueError(f"alpha_max must be at least 1, got {self.alpha_max}")
        if self.mini_batches < 1:
            raise ValueError(f"mini_batches must be at least 1, got {self.mini_batches}")

    def for_batch(self, active_share: float) -> "TrustRegion":
        """The region for a batch of rollouts of which only this share, in (0, 1], has an advantage.

        What the rollouts without one say nothing of is not measured, and must not be spent.
        """
        return replace(self, kl_budget=self.kl_budget * active_share)

    def is_outside(self, kl: float) -> bool:
        """Whether a pass's optimizer step is to be left out, because it would start from outside the region.

        Raises:
            ValueError: the KL is NaN.
        """
        return _number(kl) > self.kl_budget

    def ends_trajectory(self, passes: Sequence[float]) -> bool:
        """Whether the last of these passes found itself outside."""
        return self.is_outside(passes[-1])

    def alpha(self, passes: Sequence[float]) -> float:
        """√(δ / KL at the end of the trajectory), at most `alpha_max`; with fewer than two passes nothing is known: 1."""
        kl = self.predicted_kl(passes)
        if kl is None:
            return 1.0
        return min(self.alpha_max, math.sqrt(self.kl_budget / kl)) if kl > 0.0 else self.alpha_max

    def predicted_kl(self, passes: Sequence[float]) -> float | None:
        """The KL at the end of the trajectory: measured there if it ended early, else by the power law.

        None where no pass was made away from θ_0.
        """
        return passes[-1] if self.is_outside(passes[-1]) else self.extrapolated_kl(passes)

    def extrapolated_kl(self, passes: Sequence[float]) -> float | None:
        """The KL after the steps of all these passes, by the power law; None where no pass was made away from θ_0."""
        end = float(len(passes))
        # A pass starts after k passes and, in the mean over its mini-batches, (M - 1) / 2M later.
        offset = (self.mini_batches - 1) / (2 * self.mini_batches)
        known = [(k + offset, kl) for k, kl in enumerate(passes) if k + offset > 0.0]
        if not known:
            return None
        place, kl = known[-1]
        exponent = 2.0
        if len(known) > 1 and kl > 0.0 and (before := known[-2])[1] > 0.0:
            low, high = _EXPONENTS
            exponent = min(high, max(low, math.log(kl / before[1]) / math.log(place / before[0])))
        return float(kl * (end / place) ** exponent)

    def corrects(self, passes: Sequence[float]) -> bool:
        """Whether a slow pass follows: not where one pass alone leaves the region, since the slow one would too."""
        return not (len(passes) <= 2 and self.is_outside(passes[-1]))

    def shortened(self, alpha: float, measured: float) -> float:
        """α again by the KL that was reached at θ̃, where that is beyond what the prediction may be wrong by.

        Raises:
            ValueError: the KL is NaN.
        """
        if _number(measured) <= _TOLERANCE * self.kl_budget:
            return alpha
        return alpha * max(_FURTHEST_BACK, math.sqrt(self.kl_budget / measured))


def _number(kl: float) -> float:
    if math.isnan(kl):
        raise ValueError("the KL to the policy that sampled is NaN: the model has diverged or no token was scored")
    return kl
