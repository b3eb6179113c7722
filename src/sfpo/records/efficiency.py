"""The definitions behind "fewer rollouts": how accuracies over seeds become one number with its interval.

- A variant's curve is its held-out accuracy, averaged over seeds, each evaluation then averaged with its neighbours (3
  evaluations; 2 at the ends).
- A variant's best and last evaluation are those of its held-out accuracy averaged over seeds alone.
- A baseline's best is the maximum of its curve within its budget. That is the target of what is compared with it.
- Near its ceiling a curve's maximum is decided by noise. So reductions are also given to `NEARLY` of the baseline's best.
- Rollouts (or seconds) to the target are read off a variant's curve where it first reaches it, linear between
  evaluations; `math.inf` means never.
- The reduction is the baseline's figure over the variant's, 0 where the variant never reaches the target. It is 0, too, where
  the baseline alone is there before any training, as one that only falls. Where the variant's curve is
  there before any training, no ratio says how much that saves: this is "from the start", a value of its own.
- `TOO_FEW` evaluations or fewer show no curve: the mean over neighbours then spans all of the training.
- 95 % intervals are bootstrapped over seeds (percentiles). A draw takes the same seeds of variant and baseline, which
  share prompts and random numbers, and finds the target anew. One seed gives no interval.

Shapes: S seeds, E evaluations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

DRAWS = 4_000
TOO_FEW = 3
"""So many evaluations, that of the start included, do not tell when a target is reached."""
NEARLY = 0.95
"""The share of the baseline's best that serves as a second target."""
Array = NDArray[np.float64]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Runs:
    """The runs of one variant, all evaluated at the same steps: (S, E) each, seeds in the same order everywhere."""

    rollouts: Array
    seconds: Array
    accuracy: Array


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval, which are None for a single seed."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Reduction:
    """How many times less of something a variant needs than its baseline.

    It is 0 for never getting there, and where the baseline alone is there from the start. If the variant is there from the start, it is 1 if the baseline is there from the start too, else infinite.
    """

    needed: Interval
    reduction: Interval
    never_reached: float
    """Share of the bootstrap's draws in which the target is not reached."""
    from_start: float
    """Share of the draws in which it is reached before any training."""

    @property
    def is_from_start(self) -> bool:
        """Whether the variant is at the target before any training."""
        return self.needed.value == 0.0

    @property
    def is_behind_from_start(self) -> bool:
        """Whether the baseline alone is at the target before any training: the reduction is 0, although the variant gets there."""
        return self.reduction.value == 0.0 and not math.isinf(self.needed.value)


def smoothed(accuracy: Array) -> Array:
    """(..., E) averaged over each evaluation and its neighbours."""
    ones = np.ones(accuracy.shape[-1])
    return _neighbours(accuracy) / _neighbours(ones)


def first_reached(amount: Array, curve: Array, target: float) -> float:
    """How much of `amount` (E,) `curve` (E,) needs to reach `target`; infinite if it never does."""
    above = np.flatnonzero(curve >= target)
    if not len(above):
        return math.inf
    index = int(above[0])
    if index == 0:
        return float(amount[0])
    share = (target - curve[index - 1]) / (curve[index] - curve[index - 1])
    return float(amount[index - 1] + share * (amount[index] - amount[index - 1]))


def best(runs: Runs) -> float:
    """The maximum of a variant's curve."""
    return float(smoothed(runs.accuracy.mean(0)).max())


def reduction(variant: Runs, baseline: Runs, amount: str, share: float = 1.0) -> Reduction:
    """The reduction of `amount`, "rollouts" or "seconds", to reach the baseline's best or a share of it."""
    needed, ratio = _needed_and_ratio(variant, baseline, amount, share)
    seeds = len(variant.accuracy)
    draws = _drawn(seeds, lambda drawn: _needed_and_ratio(_of(variant, drawn), _of(baseline, drawn), amount, share))
    drawn = np.array([draw[0] for draw in draws] or [needed])
    return Reduction(
        _interval(needed, [draw[0] for draw in draws]),
        _interval(ratio, [draw[1] for draw in draws]),
        never_reached=float(np.isinf(drawn).mean()),
        from_start=float((drawn == 0.0).mean()),
    )


def mean_interval(values: Array) -> Interval:
    """The mean of one value per seed (S,)."""
    return _interval(float(values.mean()), _drawn(len(values), lambda drawn: float(values[drawn].mean())))


def best_interval(runs: Runs) -> Interval:
    """The maximum of a variant's curve."""
    return _interval(best(runs), _drawn(len(runs.accuracy), lambda drawn: best(_of(runs, drawn))))


def best_evaluation_interval(runs: Runs) -> Interval:
    """The maximum of the seed-mean over evaluations, none of them averaged with its neighbours, as the last one is not."""
    draws = _drawn(len(runs.accuracy), lambda drawn: float(runs.accuracy[drawn].mean(0).max()))
    return _interval(float(runs.accuracy.mean(0).max()), draws)


def band(accuracy: Array) -> tuple[Array, Array]:
    """Pointwise 95 % interval (E,), (E,) of the seed-mean of (S, E); with one seed, the values themselves."""
    draws = _drawn(len(accuracy), lambda drawn: accuracy[drawn].mean(0)) or [accuracy[0]]
    low, high = np.quantile(np.stack(draws), (0.025, 0.975), axis=0)
    return low, high


def _needed_and_ratio(variant: Runs, baseline: Runs, amount: str, share: float) -> tuple[float, float]:
    curve = smoothed(baseline.accuracy.mean(0))
    target = share * float(curve.max())
    theirs = first_reached(getattr(baseline, amount).mean(0), curve, target)
    ours = first_reached(getattr(variant, amount).mean(0), smoothed(variant.accuracy.mean(0)), target)
    if ours == theirs:  # also if neither improves on the start
        return ours, 1.0
    return ours, math.inf if ours == 0.0 else theirs / ours


def _of(runs: Runs, seeds: NDArray[np.int64]) -> Runs:
    return Runs(runs.rollouts[seeds], runs.seconds[seeds], runs.accuracy[seeds])


def _drawn(seeds: int, statistic: Callable[[NDArray[np.int64]], _T]) -> list[_T]:
    """A statistic of `DRAWS` bootstrap samples of the seeds; of a single seed there are none."""
    if seeds < 2:
        return []
    draws = np.random.default_rng(0).integers(seeds, size=(DRAWS, seeds))
    # The order within a sample does not matter, and few seeds have few samples: five have 126.
    samples, which = np.unique(np.sort(draws, axis=1), axis=0, return_inverse=True)
    values = [statistic(sample) for sample in samples]
    return [values[index] for index in which.ravel()]


def _interval(value: float, draws: list[float]) -> Interval:
    if not draws:
        return Interval(value, None, None)
    # Use order statistics instead of interpolation, because "never" is infinite and cannot be averaged.
    low, high = np.quantile(draws, (0.025, 0.975), method="nearest")
    return Interval(value, float(low), float(high))


def _neighbours(values: Array) -> Array:
    total = values.copy()
    total[..., 1:] += values[..., :-1]
    total[..., :-1] += values[..., 1:]
    return total
