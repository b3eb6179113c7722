"""Checks golds before they are trained on: a gold that does not equal itself would never be rewarded, or always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .extract import boxed
from .grade import grade_all


@dataclass(frozen=True)
class InvalidGold:
    """A gold no answer can be compared with; `row` is its index in the list that was checked."""

    row: int
    gold: str
    reason: str


def validate_golds(golds: Sequence[str]) -> list[InvalidGold]:
    """The golds that do not equal themselves: blank, undefined (0/0), unbalanced, or beyond the time limit."""
    distinct = list(dict.fromkeys(golds))
    verdicts = grade_all([(gold, boxed(gold)) for gold in distinct])
    reasons = {
        gold: "is blank" if not gold.strip() else _REASONS[verdict.status]
        for gold, verdict in zip(distinct, verdicts, strict=True)
        if not verdict.correct
    }
    return [InvalidGold(row, gold, reasons[gold]) for row, gold in enumerate(golds) if gold in reasons]


_REASONS = {
    "wrong": "has no defined value",
    "unparseable": "cannot be read",
    "timeout": "takes too long to compare with itself",
    "error": "takes too much memory to compare with itself",
}
