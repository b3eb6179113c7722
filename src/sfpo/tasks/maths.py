"""Widely used maths training sets by name: from the hub, or from local copies with the hub's columns."""

import re
from collections.abc import Iterable, Iterator
from os.path import isfile

from datasets import Dataset

from sfpo.errors import UsageError
from sfpo.tasks import cleaning
from sfpo.tasks.catalog import SETS, TASKS
from sfpo.tasks.cells import Message
from sfpo.tasks.readers import read_file
from sfpo.tasks.schemas import Row, read_rows
from sfpo.tasks.sources import read_hub
from sfpo.tasks.task import Task, is_held_out
from sfpo.tasks.templates import as_prompt, check_template

_RANGE = re.compile(r"(?P<scale>.+):(?P<low>\d+)-(?P<high>\d+)")


def load(
    name: str,
    *,
    data_path: str | None,
    prompt_template: str = "auto",
    difficulty: str | None = None,
    clean: bool = True,
    benchmark_data_path: str | None = None,
    eval_problems: int = 512,
) -> Task:
    """A set of `catalog.TASKS`, graded as mathematics; one problem in eight is held out, but at most `eval_problems`.

    Args:
        data_path: local copies to read instead of the hub's: one file for each set in the name, separated by commas.
        prompt_template: see `templates`.
        difficulty: `SCALE:LOW-HIGH` keeps the problems rated within the range. `level:3-5` selects levels of MATH;
            `7B:1-15` selects Skywork's problems by how often the model whose name ends in `7B` failed in 16 tries.
        clean: drop repeats, conflicting answers, golds that cannot be graded, and benchmark problems.
        benchmark_data_path: folder with local copies of the benchmarks to compare with; by default the hub's are used.

    Raises:
        UsageError: a set cannot be loaded, its columns match no known set, or it has too few rows.
    """
    from sfpo.tasks.benchmarks import benchmark_texts

    check_template(prompt_template)
    rows: Iterable[Row] = _read(name, data_path)
    if difficulty is not None:
        rows = _within(rows, difficulty, name)
    if not clean:
        return as_task(name, list(rows), prompt_template, eval_problems)
    cleaned = cleaning.clean(rows, name, benchmark_texts(benchmark_data_path))
    return as_task(name, cleaned.rows, prompt_template, eval_problems, cleaned.note)


def as_task(name: str, rows: list[Row], prompt_template: str, eval_problems: int, note: str = "") -> Task:
    """Turn rows into a task. A problem's text alone decides whether it is held out, so no template changes that.

    Prompts are texts, or conversations where a row has more turns than the user's question.

    Raises:
        UsageError: there are too few rows.
    """
    from sfpo.grading import math_reward

    halves: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        halves[is_held_out(_of_the_problem(row))].append(row)
    train, held_out = halves[0], halves[1][:eval_problems]
    if not train or not held_out:
        kept = f" ({note})" if note else ""
        raise UsageError(f"{name} has only {len(rows)} rows: too few to train on some and hold out others{kept}")
    has_turns = any(row.context for row in rows)

    def dataset(part: list[Row]) -> Dataset:
        return Dataset.from_dict(
            {
                "prompt": [_prompt(row, prompt_template, has_turns) for row in part],
                "answer": [row.answer for row in part],
            }
        )

    return Task.of(name, dataset(train), dataset(held_out), math_reward, note)


def _of_the_problem(row: Row) -> str:
    """What one problem has in common however its system prompt words the task."""
    return "\n".join(
        [*(turn["content"] for turn in row.context if turn["role"] in ("user", "assistant")), row.problem]
    )


def _prompt(row: Row, prompt_template: str, has_turns: bool) -> str | list[Message]:
    """The instruction goes with the last turn. A column holds either texts or conversations."""
    text = as_prompt(row.problem, prompt_template, row.shipped)
    return [*row.context, {"role": "user", "content": text}] if has_turns else text


def _read(name: str, data_path: str | None) -> Iterator[Row]:
    sets = TASKS[name]
    if data_path is None:
        for part in sets:
            local = f"give a local copy with --data_path {','.join(f'{part}.parquet' for part in sets)}"
            yield from read_rows(read_hub(SETS[part], local))
        return
    paths = [data_path] if len(sets) == 1 and isfile(data_path) else data_path.split(",")
    if len(paths) != len(sets):
        files = f"{len(sets)} files with commas between them" if len(sets) > 1 else "one file"
        raise UsageError(f"--task {name} is made of {', '.join(sets)}: give {files} with --data_path")
    for path in paths:
        yield from read_rows(read_file(path))


def _within(rows: Iterable[Row], difficulty: str, name: str) -> Iterator[Row]:
    parsed = _RANGE.fullmatch(difficulty)
    if parsed is None:
        raise UsageError(
            f"'{difficulty}' is not a difficulty range: write --difficulty SCALE:LOW-HIGH, as in level:3-5"
        )
    low, high = int(parsed["low"]), int(parsed["high"])
    scales: set[str] = set()
    matched = False
    for row in rows:
        scales |= row.difficulty.keys()
        rated = [value for scale, value in row.difficulty.items() if scale.endswith(parsed["scale"])]
        matched = matched or bool(rated)
        if len(rated) > 1:
            raise UsageError(
                f"--difficulty {difficulty} matches several of {', '.join(sorted(scales))}: give the full name of one"
            )
        if rated and low <= rated[0] <= high:
            yield row
    if not matched:
        known = f"it has {', '.join(sorted(scales))}" if scales else "its problems are not rated"
        raise UsageError(f"{name} has no difficulty scale '{parsed['scale']}': {known}")
