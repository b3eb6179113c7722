"""Choose the rows of a long run that a page holds."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def thinned(rows: Sequence[T], most: int) -> list[T]:
    """At most `most` rows, evenly spread; they include the last one if `most` is at least two."""
    if len(rows) <= most:
        return list(rows)
    if most < 2:
        return list(rows[:most])
    gap = (len(rows) - 1) / (most - 1)
    return [rows[round(index * gap)] for index in range(most)]
