"""A local JSONL, CSV or parquet file of problems and answers."""

from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.tasks import cleaning
from sfpo.tasks.maths import as_task
from sfpo.tasks.schemas import Row
from sfpo.tasks.sources import read_file
from sfpo.tasks.task import Task
from sfpo.tasks.templates import check_template


def load(
    path: str,
    prompt_column: str,
    answer_column: str,
    eval_problems: int,
    prompt_template: str = "auto",
    clean: bool = True,
    benchmark_data_path: str | None = None,
) -> Task:
    """Problems from `path`, graded as mathematics; one in eight is held out, but at most `eval_problems`.

    `auto` leaves prompts unchanged. Rows are compared only with benchmarks that have a copy in `benchmark_data_path`: a
    user's own file should not need the hub.

    Raises:
        UsageError: the file or a column is missing, the file cannot be read or has no rows, or a prompt or an answer is
            empty; the message then names its row.
    """
    from sfpo.tasks.benchmarks import benchmark_texts

    check_template(prompt_template)
    rows = _read(path, prompt_column, answer_column)
    name = Path(path).stem
    template = "plain" if prompt_template == "auto" else prompt_template
    if not clean:
        return as_task(name, rows, template, eval_problems)
    benchmarks = cleaning.BenchmarkTexts() if benchmark_data_path is None else benchmark_texts(benchmark_data_path)
    cleaned = cleaning.clean(rows, name, benchmarks)
    return as_task(name, cleaned.rows, template, eval_problems, cleaned.note)


def _read(path: str, prompt_column: str, answer_column: str) -> list[Row]:
    data = read_file(path)
    for option, column in (("prompt_column", prompt_column), ("answer_column", answer_column)):
        if column not in data.column_names:
            raise UsageError(
                f"{path} has no column '{column}': choose --{option} among {', '.join(data.column_names)}"
            )
    rows = []
    for index, (prompt, answer) in enumerate(zip(data[prompt_column], data[answer_column], strict=True)):
        for kind, value in (("prompt", prompt), ("answer", answer)):
            if not _text(value).strip():
                raise UsageError(f"row {index + 1} of {path} has an empty {kind}: fill it in or remove the row")
        rows.append(Row(problem=_text(prompt), answer=_text(answer), shipped=_text(prompt)))
    return rows


def _text(value: Any) -> str:
    return "" if value is None else str(value)
