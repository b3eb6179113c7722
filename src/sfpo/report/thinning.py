"""How much of a long run a page holds."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def thinned(rows: Sequence[T], most: int) -> list[T]:
    """At most `most` rows, evenly spread, with the last one among them where there is room for two."""
    if len(rows) <= most:
        return list(rows)
    if most < 2:
        return list(rows[:most])
    gap = (len(rows) - 1) / (most - 1)
    return [rows[round(index * gap)] for index in range(most)]
