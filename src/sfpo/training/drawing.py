"""The problems of a generated task: as many as the steps need, drawn once the run is known to be possible."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sfpo.tasks import Task
from sfpo.training import cost
from sfpo.training.own_options import TrainOptions
from sfpo.trl import SFPOConfig


def problems_needed(options: TrainOptions, training: SFPOConfig) -> int:
    """The training problems to draw for a task of reasoning-gym, which takes up to 50 ms for each: one for every prompt.

    All of `--train_problems` are made for other tasks, and where the length of the run follows from the data.
    """
    if training.max_steps <= 0 or not options.task.startswith("gym:"):
        return options.train_problems
    run = cost.estimate(training, options.train_problems)
    return min(options.train_problems, run.prompts_per_batch * run.batches)


def draw(console: Console, task: Task) -> Task:
    """The task with its problems at hand, with a bar that shows how far the drawing is.

    Raises:
        UsageError: the task has too few different problems.
    """
    if task.is_drawn:
        return task
    total = task.train_size + task.held_out_size
    if not console.is_terminal:
        console.print(f"Drawing {total:,} problems of {task.name} ...", highlight=False, markup=False)
    columns = (
        TextColumn("Drawing problems"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=total)
        return task.drawn(lambda: progress.advance(bar))
