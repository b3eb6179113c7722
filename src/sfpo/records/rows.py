"""JSON lines: files of rows that grow, of which a process that is killed may leave the last row torn."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sfpo.json_object import Shape, flaw
from sfpo.whole import write_whole

Row = dict[str, Any]


def read_rows(path: Path, shape: dict[str, Shape] | None = None) -> list[Row]:
    """The rows of a file, without lines that are no whole row; none if there is no file.

    Args:
        shape: what every row must have; a row without it is not whole.
    """
    return _rows_and_torn(path, shape)[0]


def mend_rows(path: Path, shape: dict[str, Shape] | None = None) -> tuple[list[Row], int]:
    """The rows of a file that will be added to, and how many lines it had that are no whole row; those are dropped."""
    rows, torn = _rows_and_torn(path, shape)
    if torn or (rows and not path.read_bytes().endswith(b"\n")):
        replace_rows(path, rows)
    return rows, torn


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows, which are on the disk when this returns."""
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write("".join(_line(row) for row in rows))
        file.flush()
        os.fsync(file.fileno())


def replace_rows(path: Path, rows: Iterable[Row]) -> None:
    """Put these rows in place of all that a file holds."""
    write_whole(path, "".join(_line(row) for row in rows))


def _rows_and_torn(path: Path, shape: dict[str, Shape] | None) -> tuple[list[Row], int]:
    if not path.exists():
        return [], 0
    # Only "\n" ends a row: a completion may hold the other characters at which splitlines() splits. A torn row may end in
    # the middle of a character.
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    rows = [row for row in map(_row, lines) if row is not None and flaw(row, shape or {}) is None]
    return rows, len(lines) - len(rows)


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
