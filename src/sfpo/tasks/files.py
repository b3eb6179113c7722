"""A local JSONL, CSV or parquet file of problems and answers."""

from pathlib import Path

from sfpo.errors import UsageError
from sfpo.tasks import cleaning
from sfpo.tasks.cells import Cell, as_gold, as_turns
from sfpo.tasks.maths import as_task
from sfpo.tasks.readers import read_file
from sfpo.tasks.schemas import Row, asked
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

    A prompt is a text, or the turns of a conversation that the chat template formats; a template's instruction goes into the
    last turn. `auto` leaves prompts unchanged. Rows are compared only with benchmarks that have a copy in
    `benchmark_data_path`: a user's own file should not need the hub.

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
    table = read_file(path)
    for option, column in (("prompt_column", prompt_column), ("answer_column", answer_column)):
        if column not in table.columns:
            raise UsageError(f"{path} has no column '{column}': choose --{option} among {', '.join(table.columns)}")
    rows = []
    for number, values in enumerate(table.rows, start=1):
        prompt, context = asked(as_turns(Cell(values.get(prompt_column), prompt_column, number, path)))
        answer = as_gold(Cell(values.get(answer_column), answer_column, number, path))
        for kind, text in (("prompt", prompt), ("answer", answer)):
            if not text.strip():
                raise UsageError(f"row {number} of {path} has an empty {kind}: fill it in or remove the row")
        rows.append(Row(problem=prompt, answer=answer, shipped=prompt, context=context))
    return rows
