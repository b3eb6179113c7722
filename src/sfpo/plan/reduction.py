"""From fewer rollouts to less time: the wall-clock reduction of a K whose rollout reduction is known."""

import math
from dataclasses import dataclass
from pathlib import Path

from sfpo.errors import UsageError
from sfpo.json_object import flaw, read_object
from sfpo.options import config_of
from sfpo.plan.seconds import StepSeconds
from sfpo.records.settings import settings_of_variant
from sfpo.records.summary import COMPARED, SPECIFICATION, SUMMARY


@dataclass(frozen=True)
class Reduction:
    """One K: the rollouts and seconds that GRPO needs to reach a target, divided by those that SFPO needs."""

    inner_steps: int
    rollouts: float
    step_ratio: float

    @property
    def time(self) -> float:
        """R / ρ: SFPO takes R times fewer steps, each ρ times as long."""
        return self.rollouts / self.step_ratio


def reductions(step: StepSeconds, rollout_reductions: dict[int, float]) -> list[Reduction]:
    """One for every K that has a rollout reduction, the largest time reduction first."""
    found = [Reduction(k, reduction, step.ratio(k)) for k, reduction in rollout_reductions.items()]
    return sorted(found, key=lambda r: r.time, reverse=True)


def read_reductions(given: list[str]) -> dict[int, float]:
    """Rollout reduction by K, from `K=REDUCTION` or from the folder of a comparison.

    Raises:
        UsageError: an entry is neither of the two, or SFPO never reached GRPO's accuracy in the comparison.
    """
    found: dict[int, float] = {}
    for text in given:
        if (Path(text) / SUMMARY).is_file() and (Path(text) / SPECIFICATION).is_file():
            found |= _of_comparison(Path(text))
            continue
        k, _, value = text.partition("=")
        try:
            found[int(k)] = float(value)
        except ValueError:
            raise UsageError(
                f"--rollout_reduction takes K=REDUCTION, such as 3=3.5, or a folder that sfpo compare wrote; got '{text}'"
            ) from None
        if int(k) < 1 or not 0 < found[int(k)] < math.inf:
            raise UsageError(
                f"--rollout_reduction {text}: K must be at least 1, and the reduction positive and finite"
            )
    return found


def _of_comparison(folder: Path) -> dict[int, float]:
    """The largest rollout reduction of each K among the comparison's SFPO variants."""
    remedy = "let sfpo compare finish again"
    comparison = read_object(folder / SPECIFICATION, COMPARED | {"train": [str]}, remedy)
    summary = read_object(folder / SUMMARY, {"variants": dict}, remedy)
    configuration = config_of(comparison["train"])
    best: dict[int, float] = {}
    for variant in comparison["variants"]:
        # A variant has no reduction if it did not run, never reached the target or was there from the start.
        figures = summary["variants"].get(variant["name"])
        if variant["method"] != "sfpo" or flaw(figures, {"rollout_reduction": {"value": int | float}}) is not None:
            continue
        reduction = figures["rollout_reduction"]
        if reduction["value"] and "from_start" not in reduction:
            k = settings_of_variant(comparison, variant, configuration)["inner_steps"]
            best[k] = max(reduction["value"], best.get(k, 0.0))
    if not best:
        raise UsageError(f"{folder} holds no sfpo variant with a rollout reduction: let sfpo compare finish")
    return best
