"""A variant's figures in the `summary.json` of a comparison, of which every value is of the kind that is expected of it."""

from typing import Any

from sfpo.records.summary import NEARLY_REDUCTION
from sfpo.report.untrusted import MalformedError, list_of, mapping, name, number, whole

_MOST_EVALUATIONS, _MOST_SEEDS, _MOST_FAILED = 10_000, 100, 20
_CURVE = ("rollouts", "seconds", "accuracy", "low", "high", "length")
_ACCURACIES = ("final_accuracy", "best_accuracy")
_COMPARED = ("rollouts_to_target", "seconds_to_target", "rollout_reduction", "time_reduction")
_ADDED = ("best_evaluation", "final_difference", *NEARLY_REDUCTION.values())
"""Intervals that older summaries lack."""


def figures_of(entry: Any) -> dict[str, Any]:
    """The figures of one variant: those of its own runs if any has finished, and those compared with its baseline.

    Raises:
        MalformedError: it is not what `sfpo compare` writes.
    """
    said = mapping(entry)
    figures: dict[str, Any] = {
        "seeds_done": list_of(whole, said.get("seeds_done"), _MOST_SEEDS),
        "failed": list_of(_failure, said.get("failed", []), _MOST_FAILED),
        "baseline": name(said.get("baseline")),
    }
    if "curve" in said:
        figures["curve"] = _curve(mapping(said["curve"]))
        figures |= {key: _interval(said.get(key)) for key in _ACCURACIES}
        if None in (figures[key]["value"] for key in _ACCURACIES):
            raise MalformedError("an accuracy is missing")
    if "curve" in said and "rollout_reduction" in said:
        figures["target_accuracy"] = number(said.get("target_accuracy"))
        figures |= {key: _interval(said.get(key)) for key in _COMPARED}
    return figures | {key: _interval(said[key]) for key in _ADDED if key in said and "curve" in said}


def _curve(said: dict[str, Any]) -> dict[str, list[float]]:
    curve = {key: list_of(number, said.get(key), _MOST_EVALUATIONS) for key in _CURVE}
    if len({len(values) for values in curve.values()}) != 1 or not curve["accuracy"]:
        raise MalformedError("the lists of its curve are not equally long")
    return curve


def _interval(value: Any) -> dict[str, float | None]:
    said = mapping(value)
    ends = {key: None if said.get(key) is None else number(said[key]) for key in ("value", "low", "high")}
    shares = {key: number(said[key]) for key in ("never_reached", "from_start", "behind_from_start") if key in said}
    return {"never_reached": 0.0} | ends | shares


def _failure(value: Any) -> dict[str, Any]:
    said = mapping(value)
    return {"seed": whole(said.get("seed")), "error": name(said.get("error"))}
