"""Drop unsuitable rows from a training set, and say in one line which.

Training would draw repeats more often than other problems. Problems with conflicting answers reward wrong answers half of
the time. Golds that cannot be graded never reward anything. Problems of a benchmark make its score worthless.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from sfpo.tasks.problem_text import normalised
from sfpo.tasks.schemas import Row

_ROWS_NAMED = 5


@dataclass(frozen=True)
class BenchmarkTexts:
    """Normalised problem texts with the benchmark they belong to, and the benchmarks that could not be loaded."""

    names: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cleaned:
    rows: list[Row]
    note: str


def clean(rows: Iterable[Row], name: str, benchmarks: BenchmarkTexts) -> Cleaned:
    """The rows to train on: the first row of each problem, in the original order."""
    from sfpo.grading import validate_golds

    total = unanswered = 0
    seen: set[tuple[str, str]] = set()
    first: dict[str, Row] = {}
    number: dict[str, int] = {}
    answers: dict[str, list[str]] = {}
    occurrences: Counter[str] = Counter()
    text_of = cache(normalised)  # the published DAPO set repeats its rows a hundred times
    for total, row in enumerate(rows, start=1):
        if not row.problem or not row.answer:
            unanswered += 1
            continue
        key = "\n".join(
            [*(f"{turn['role']}: {text_of(turn['content'])}" for turn in row.context), text_of(row.problem)]
        )
        occurrences[key] += 1
        if (key, row.answer) in seen:
            continue
        seen.add((key, row.answer))
        answers.setdefault(key, []).append(row.answer)
        if key not in first:
            first[key], number[key] = row, total
    conflicting = _conflicting(answers)
    known: dict[str, str] = {}
    for key, row in first.items():
        asked = [row.problem, *(turn["content"] for turn in row.context if turn["role"] == "user")]
        names = [benchmarks.names[text] for text in map(text_of, asked) if text in benchmarks.names]
        if names and key not in conflicting:
            known[key] = names[0]
    kept = [key for key in first if key not in conflicting and key not in known]
    invalid = {kept[gold.row] for gold in validate_golds([first[key].answer for key in kept])}
    repeats = sum(count - 1 for key, count in occurrences.items() if key not in conflicting)
    contradicting = sum(occurrences[key] for key in conflicting)
    dropped = (
        (unanswered, f"{_plural(unanswered, 'row')} without a problem or an answer"),
        (repeats, _plural(repeats, "repeat")),
        (
            contradicting,
            f"{_plural(contradicting, 'row')} of {_plural(len(conflicting), 'problem')} with conflicting answers",
        ),
        (len(known), f"{_plural(len(known), 'benchmark problem')} ({_counted(known.values())})"),
        (
            len(invalid),
            f"{_plural(len(invalid), 'answer')} that cannot be graded "
            f"(row {_listed(sorted(number[key] for key in invalid))})",
        ),
    )
    rows_kept = [first[key] for key in kept if key not in invalid]
    reasons = ", ".join(reason for count, reason in dropped if count)
    note = f"{name}: {len(rows_kept):,} of {total:,} rows kept; dropped {reasons or 'none'}"
    if benchmarks.missing:
        note += (
            f"; not compared with {', '.join(benchmarks.missing)}, which cannot be reached "
            "(give local copies with --benchmark_data_path)"
        )
    return Cleaned(rows_kept, note)


def _conflicting(answers: dict[str, list[str]]) -> set[str]:
    """Problems whose answers differ in value, not only in notation."""
    from sfpo.grading import grade_all

    pairs = [(key, given[0], other) for key, given in answers.items() for other in given[1:]]
    verdicts = grade_all([(gold, f"\\boxed{{{other}}}") for _, gold, other in pairs])
    return {key for (key, _, _), verdict in zip(pairs, verdicts, strict=True) if not verdict.correct}


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(Counter(names).items()))


def _listed(rows: list[int]) -> str:
    more = len(rows) - _ROWS_NAMED
    return ", ".join(map(str, rows[:_ROWS_NAMED])) + (f" and {more} more" if more > 0 else "")
