"""The tasks that `--task` names."""

from sfpo.errors import UsageError
from sfpo.tasks.catalog import check_task
from sfpo.tasks.task import Task

__all__ = ["Task", "load_task"]


def load_task(
    name: str,
    *,
    parameters: list[str] | None = None,
    data_path: str | None = None,
    prompt_column: str = "prompt",
    answer_column: str = "answer",
    prompt_template: str = "auto",
    difficulty: str | None = None,
    clean: bool = True,
    benchmark_data_path: str | None = None,
    train_problems: int = 20_000,
    eval_problems: int = 512,
    seed: int = 0,
) -> Task:
    """Load `arithmetic`, `gym:NAME`, one of the hub's maths sets in `catalog.TASKS`, or the `file` at `data_path`.

    Args:
        parameters: `key=value` settings of a gym task.
        data_path, prompt_template, difficulty, clean, benchmark_data_path: see `maths.load`.
        prompt_column, answer_column: the columns to read from a `file`.
        train_problems, eval_problems: how many problems to generate; a file's size is fixed.
        seed: chooses the training problems of a generated task.

    Raises:
        UsageError: the name is unknown, or the task finds a problem in its data.
    """
    check_task(name)
    # Each branch imports what no other task needs.
    if name == "arithmetic":
        from sfpo.tasks import arithmetic

        return arithmetic.load(train_problems, eval_problems, seed)
    if name.startswith("gym:"):
        from sfpo.tasks import gym

        return gym.load(name.removeprefix("gym:"), parameters or [], train_problems, eval_problems, seed)
    if name == "file":
        from sfpo.tasks import files

        if data_path is None:
            raise UsageError("--task file needs a JSONL, CSV or parquet file: give it with --data_path")
        return files.load(
            data_path, prompt_column, answer_column, eval_problems, prompt_template, clean, benchmark_data_path
        )
    from sfpo.tasks import maths

    return maths.load(
        name,
        data_path=data_path,
        prompt_template=prompt_template,
        difficulty=difficulty,
        clean=clean,
        benchmark_data_path=benchmark_data_path,
        eval_problems=eval_problems,
    )
