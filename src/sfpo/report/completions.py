"""The completions of a run in the groups that GRPO compares, with the advantages that follow from their rewards."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from statistics import mean, stdev
from typing import Any

from sfpo.records.rows import Row
from sfpo.report.folder import Run
from sfpo.report.thinning import thinned

_LONGEST_TEXT = 6_000
_SMALLEST_SPREAD = 1e-4
"""What GRPO adds to a standard deviation before it divides by it."""


@dataclass(frozen=True)
class Completion:
    """One completion; None where its reward or advantage is not known, or whether its length limit cut it off."""

    text: str
    reward: float | None
    advantage: float | None
    cut_off: bool | None


@dataclass(frozen=True)
class Group:
    """The recorded completions of one prompt in one step, and the answer that is right."""

    step: int | None
    prompt: str
    answer: str
    completions: list[Completion]


@dataclass(frozen=True)
class Completions:
    """Groups in the order of their steps; `note` says which they are and where the advantages come from."""

    note: str
    groups: list[Group]


def completions_of(run: Run, characters: int) -> Completions:
    """The groups of a run that fit into `characters`, evenly spread over the run."""
    if not run.completions:
        return Completions("No completions were recorded.", [])
    groups = [_group(rows, run.settings) for rows in _grouped(run.completions, run.settings)]
    size = sum(_length(group) for group in groups)
    shown = thinned(groups, min(len(groups), max(1, len(groups) * characters // max(1, size))))
    all_of_them, left = (sum(len(group.completions) for group in some) for some in (groups, shown))
    if len(shown) == len(groups):
        note = f"All {all_of_them:,} completions that the run recorded."
    else:
        note = (
            f"{left:,} of the {all_of_them:,} recorded completions, evenly spread; the rest are in completions.jsonl."
        )
    if any(one.advantage is not None for group in shown for one in group.completions):
        note += " Advantages are computed from the recorded rewards of whole groups, as GRPO computes them."
    return Completions(note, shown)


def _grouped(rows: list[Row], settings: dict[str, Any]) -> Iterator[list[Row]]:
    """Completions of one prompt follow one another. The same prompt may have several groups in a step."""
    size = _group_size(settings)
    for _, same in groupby(rows, lambda row: (row.get("step"), row["prompt"], row["answer"])):
        group = list(same)
        most = size or len(group)
        yield from (group[start : start + most] for start in range(0, len(group), most))


def _group(rows: list[Row], settings: dict[str, Any]) -> Group:
    first = rows[0]
    advantages = _advantages([row.get("reward") for row in rows], settings)
    completions = [
        Completion(_cut(row["completion"]), row.get("reward"), advantage, row.get("cut_off"))
        for row, advantage in zip(rows, advantages, strict=True)
    ]
    return Group(first.get("step"), _cut(first["prompt"]), _cut(first["answer"]), completions)


def _advantages(rewards: list[float | None], settings: dict[str, Any]) -> list[float | None]:
    """GRPO's advantages; None where the group is not whole, or more than the group decides on them."""
    if settings.get("advantage_estimator", "grpo") != "grpo":  # the rewards of greedy completions are not recorded
        return [None] * len(rewards)
    known = [reward for reward in rewards if reward is not None]
    scale = {True: "group", False: "none"}.get(spelled := settings.get("scale_rewards", "group"), spelled)
    if len(known) != len(rewards) or len(rewards) != _group_size(settings) or scale not in ("group", "none"):
        return [None] * len(rewards)
    middle = mean(known)
    spread = stdev(known) + _SMALLEST_SPREAD if scale == "group" else 1.0
    return [(reward - middle) / spread for reward in known]


def _group_size(settings: dict[str, Any]) -> int | None:
    size = settings.get("num_generations")
    return size if isinstance(size, int) and size > 1 else None


def _length(group: Group) -> int:
    return len(group.prompt) + len(group.answer) + sum(len(one.text) for one in group.completions)


def _cut(text: str) -> str:
    left_out = len(text) - _LONGEST_TEXT
    return text if left_out <= 0 else f"{text[:_LONGEST_TEXT]} … ({left_out:,} more characters)"
