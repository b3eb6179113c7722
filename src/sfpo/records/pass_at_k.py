"""What can be said of a benchmark from a few samples a problem.

Samples of one problem are alike: they come from one hidden chance of solving it. Treating them as independent would make
the interval of avg@4 up to half as wide as it should be. Here the problem is the unit: the variance of pass@1 is that of
the problems' means, and the interval is Wilson's for as many independent samples as would have that variance. Unlike
mean ± 1.96 errors it stays within [0, 1] and does not shrink to nothing at a score of 0 or 1, where small models are.

Where few problems are ever solved, their means say little of how far samples agree, and the plain estimate is too sure
(it covers 85 to 90 % instead of 95). Two imagined problems, one always solved and one never, pull it to the safe side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959964  # of 95 %


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of `k` samples, drawn without return from `samples`, is among the `correct` ones.

    This is the unbiased estimator of solving a problem in k tries.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be between 1 and the {samples} samples, got {k}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def mean_pass_at_k(problems: Sequence[Sequence[bool]], k: int) -> float:
    """`pass_at_k` over problems, each with the verdicts of its samples."""
    return sum(pass_at_k(len(verdicts), sum(verdicts), k) for verdicts in problems) / len(problems)


def pass_at_1(problems: Sequence[Sequence[bool]]) -> Estimate:
    """The mean over problems of the share of samples that are right, with an interval clustered by problem."""
    means = [sum(verdicts) / len(verdicts) for verdicts in problems]
    value = sum(means) / len(means)
    return _wilson(value, effective_samples(means, sum(len(verdicts) for verdicts in problems)))


def effective_samples(means: Sequence[float], samples: int) -> float:
    """How many independent samples say as much about the mean as these problems do.

    Between the number of problems (their samples all agree) and that of samples (they are independent).
    """
    with_imagined = [*means, 0.0, 1.0]
    value = sum(with_imagined) / len(with_imagined)
    variance = sum((mean - value) ** 2 for mean in with_imagined) / len(with_imagined)
    return min(len(means) * value * (1.0 - value) / variance, samples)


def _wilson(value: float, samples: float) -> Estimate:
    scale = 1.0 + _Z**2 / samples
    centre = (value + _Z**2 / (2.0 * samples)) / scale
    half = _Z / scale * math.sqrt(value * (1.0 - value) / samples + _Z**2 / (4.0 * samples**2))
    # The bounds meet the ends exactly; rounding would miss them.
    return Estimate(value, centre - half if value > 0.0 else 0.0, centre + half if value < 1.0 else 1.0)
