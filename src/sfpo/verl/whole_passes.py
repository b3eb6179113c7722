"""The trust region where the host makes whole passes: no optimizer step can be left out of one."""

from collections.abc import Sequence
from dataclasses import dataclass

from sfpo.trust_region import TrustRegion


@dataclass(frozen=True)
class WholePassTrustRegion(TrustRegion):
    """A `TrustRegion` for passes that make their optimizer steps whatever KL they measure.

    verl makes a pass, forward, backward and steps of all mini-batches, in one call. A pass that finds itself outside is
    still the last one, but the weights have gone on from where it measured; so the KL at the end of the trajectory is
    predicted by the power law there, too.
    """

    def predicted_kl(self, passes: Sequence[float]) -> float | None:
        """The KL at the end of the trajectory, which no pass has measured; None where no pass was made away from θ_0."""
        return self.extrapolated_kl(passes)
