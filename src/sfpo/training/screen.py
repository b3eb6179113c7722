"""What the terminal says before a run and after it."""

from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from sfpo.model.embedded import EMBEDDED
from sfpo.options import command_line
from sfpo.records.run import COMPLETIONS, METRICS
from sfpo.settings import AUTO
from sfpo.tasks import Task
from sfpo.training import cost
from sfpo.training.held_out import Evaluation
from sfpo.training.next_step import next_commands
from sfpo.training.options import Parsed
from sfpo.trl import SFPOTrainer

_A_LARGER_MODEL = [
    "--model", "Qwen/Qwen2.5-0.5B-Instruct", "--task", "gym:countdown", "--max_steps", "200", "--dry_run",
]  # fmt: skip


def print_plan(console: Console, parsed: Parsed, task: Task) -> None:
    """The configuration of a run and what it will cost."""
    console.print("[bold]Configuration[/] (what was chosen, and SFPO's own; the rest is as in TRL)")
    text = yaml.safe_dump(parsed.effective(), sort_keys=False, allow_unicode=True)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"[bold]Data[/]\n{task.train_size:,} problems to train on, {task.held_out_size:,} held out\n")
    # A closed gate makes SFPO's steps plain GRPO's.
    console.print(
        "[bold]Cost[/]" + (" (at most: less once the entropy gate closes)" if parsed.training.gate != "off" else "")
    )
    for line in cost.estimate(parsed.training, task.train_size).lines():
        console.print(line, highlight=False)
    if parsed.training.alpha == AUTO:
        console.print(
            "With alpha=auto a batch takes fewer passes where the fast ones use up the KL budget, and one more each time that "
            "the policy has to move back.",
            soft_wrap=True,
        )
    if parsed.training.target_kl is not None:
        console.print("The epochs of a batch end earlier where their KL is above 1.5 times target_kl.", soft_wrap=True)


def print_summary(
    console: Console, parsed: Parsed, before: Evaluation, after: Evaluation, trainer: SFPOTrainer
) -> None:
    """What training changed, where everything is, and what to do next."""
    folder = Path(parsed.training.output_dir)
    table = Table(title=f"{after.problems} held-out problems, sampled once each", title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("accuracy", f"{before.accuracy:.1%}", f"{after.accuracy:.1%}")
    table.add_row("response length (tokens)", f"{before.mean_length:.1f}", f"{after.mean_length:.1f}")
    table.add_row("cut off", f"{before.cut_off:.1%}", f"{after.cut_off:.1%}")
    console.print(table)
    steps = trainer.state.global_step
    report, other, again = next_commands(parsed.arguments, str(folder))
    lines = [
        f"{trainer.rollouts:,} rollouts in {steps} step{'s' if steps != 1 else ''}.",
        f"Model        {folder}",
        f"Metrics      {folder / METRICS}",
        f"Completions  {folder / COMPLETIONS}",
        "",
        f"Next: the curves and completions of this run as a page:  {report}",
        f"the same with {other}, to compare with:  {again}",
    ]
    if parsed.command.model == EMBEDDED:
        lines.append(f"what a larger model would cost:  {command_line('train', _A_LARGER_MODEL)}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def print_stopped(console: Console, folder: Path, checkpoint: Path | None, command: str) -> None:
    """Where a run stands that the user stopped, and the command that goes on."""
    if checkpoint is None:
        where = f"Stopped before there was a checkpoint in {folder}. Start again with:"
    else:
        step = checkpoint.name.rpartition("-")[2]
        where = f"Stopped. Step {step} and all before it are saved in {checkpoint}. Continue with:"
    for line in ("", where, command):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
