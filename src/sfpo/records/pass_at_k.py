"""Estimates of benchmark scores from a few samples per problem.

Samples of one problem are alike: they come from one hidden chance of solving it. Treating them as independent would make
the interval of avg@4 up to half as wide as it should be. Here the problem is the unit: the variance of pass@1 is that of
the problems' means, and the interval is Wilson's for the number of independent samples that would have that variance.
Unlike a mean ± 1.96 errors, it stays within [0, 1] and does not shrink to nothing at a score of 0 or 1, where small models
often are.

If few problems are ever solved, their means reveal little about how far samples agree, and the plain interval is too narrow:
it covers the true score 85 to 90 % of the time instead of 95. Adding two imagined problems, one always solved and one never,
makes it err on the safe side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959964  # for 95 %


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that `k` of the `samples`, drawn without replacement, include at least one of the `correct` ones.

    This is the unbiased estimator of the chance to solve a problem in k tries.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be between 1 and the {samples} samples, got {k}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def mean_pass_at_k(problems: Sequence[Sequence[bool]], k: int) -> float:
    """`pass_at_k` over problems, each with the verdicts of its samples."""
    return sum(pass_at_k(len(verdicts), sum(verdicts), k) for verdicts in problems) / len(problems)


def pass_at_1(problems: Sequence[Sequence[bool]]) -> Estimate:
    """The share of right samples, averaged over problems, with an interval clustered by problem."""
    means = [sum(verdicts) / len(verdicts) for verdicts in problems]
    value = sum(means) / len(means)
    return wilson(value, effective_samples(means, sum(len(verdicts) for verdicts in problems)))


def effective_samples(means: Sequence[float], samples: int) -> float:
    """How many independent samples would determine the mean as precisely as these problems do.

    The result lies between the number of problems, when the samples of each agree, and the number of samples, when they are
    independent.
    """
    with_imagined = [*means, 0.0, 1.0]
    value = sum(with_imagined) / len(with_imagined)
    variance = sum((mean - value) ** 2 for mean in with_imagined) / len(with_imagined)
    return min(len(means) * value * (1.0 - value) / variance, samples)


def wilson(value: float, samples: float) -> Estimate:
    """The interval of a share that was found among independent samples."""
    scale = 1.0 + _Z**2 / samples
    centre = (value + _Z**2 / (2.0 * samples)) / scale
    half = _Z / scale * math.sqrt(value * (1.0 - value) / samples + _Z**2 / (4.0 * samples**2))
    # Set the bounds at 0 and 1 exactly, because rounding would miss them.
    return Estimate(value, centre - half if value > 0.0 else 0.0, centre + half if value < 1.0 else 1.0)
