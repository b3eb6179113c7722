"""`sfpo grade`: one answer from the command line, or a JSONL file of them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.options import Parser

from .grade import grade_all
from .verdict import Verdict

# Small enough that the first verdicts of a large file appear at once.
_BATCH = 64


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo grade`; returns the exit code.

    Raises:
        UsageError: missing or unreadable input.
    """
    options = parser().parse_args(arguments)
    if options.file is None:
        if options.gold is None or options.response is None:
            raise UsageError("give a JSONL file, or both --gold and --response")
        _print(grade_all([(options.gold, options.response)])[0])
    elif options.gold is not None or options.response is not None:
        raise UsageError("give either a file or --gold and --response, not both")
    else:
        _grade_file(options.file)
    return 0


def parser() -> Parser:
    """The parser of the command's options."""
    made = Parser(
        prog="sfpo grade",
        description="Grade answers: one with --gold and --response, or a JSONL file with both as columns. Prints one "
        "JSON verdict per answer; a `correct` column adds a summary on stderr (rows marked `ambiguous` left out).",
        allow_abbrev=False,
    )
    made.add_argument("file", nargs="?", type=Path, help="JSONL file with columns `gold` and `response`")
    made.add_argument("--gold", help="the right answer")
    made.add_argument("--response", help="the response to grade")
    return made


def _grade_file(path: Path) -> None:
    # Read first: a broken line at the end should not cost an hour of grading.
    rows = list(_rows(path))
    if not rows:
        raise UsageError(f"{path} has no rows")
    verdicts: list[Verdict] = []
    remaining = iter(rows)
    while batch := list(islice(remaining, _BATCH)):
        for verdict in grade_all([(row["gold"], row["response"]) for row in batch]):
            _print(verdict)
            verdicts.append(verdict)
    if any(row["correct"] is not None for row in rows):
        print(_summary(rows, verdicts), file=sys.stderr)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            # A gold is the text that the file has: 0.10 and integers of any length included.
            row = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}, line {number}: not JSON ({error.msg})") from error
        except RecursionError as error:
            raise UsageError(f"{path}, line {number}: nested too deep") from error
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number}: not a JSON object")
        missing = [column for column in ("gold", "response") if row.get(column) is None]
        if missing:
            raise UsageError(f"{path}, line {number}: no value for {' and '.join(missing)}")
        if not isinstance(row["response"], str) or not isinstance(row["gold"], str):
            raise UsageError(f"{path}, line {number}: gold and response must be text")
        row["correct"] = _truth(row.get("correct"), path, number)
        yield row


def _truth(value: Any, path: Path, number: int) -> bool | None:
    """A label, as JSON or a number spells it; None where there is none."""
    if value is None or isinstance(value, bool):
        return value
    if value in ("0", "1"):
        return bool(value == "1")
    raise UsageError(f"{path}, line {number}: correct must be true or false, got {value}")


def _print(verdict: Verdict) -> None:
    fields = {"correct": verdict.correct, "status": verdict.status, "seconds": round(verdict.seconds, 4)}
    print(json.dumps(fields), flush=True)


def _summary(rows: list[dict[str, Any]], verdicts: list[Verdict]) -> str:
    judged = [
        (row["correct"], verdict)
        for row, verdict in zip(rows, verdicts, strict=True)
        if row["correct"] is not None and row.get("ambiguous") in (None, False, "0")
    ]
    statuses = Counter(verdict.status for verdict in verdicts)
    accepts = sum(verdict.correct and not truth for truth, verdict in judged)
    rejects = sum(truth and not verdict.correct for truth, verdict in judged)
    right = len(judged) - accepts - rejects
    share = f" ({right / len(judged):.2%})" if judged else ""
    return (
        f"{right} of {len(judged)} right{share}, {accepts} false accepts, {rejects} false rejects, "
        f"{len(rows) - len(judged)} rows left out; "
        + ", ".join(f"{n} {status}" for status, n in statuses.most_common())
    )
