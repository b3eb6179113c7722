"""What the terminal says before a run and after it."""

from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sfpo.options import command_line
from sfpo.records.run import COMPLETIONS, METRICS
from sfpo.settings import AUTO
from sfpo.tasks import Task
from sfpo.training import cost
from sfpo.training.held_out import Evaluation
from sfpo.training.options import Parsed
from sfpo.trl import SFPOTrainer


def print_plan(console: Console, parsed: Parsed, task: Task) -> None:
    """The configuration of a run and what it will cost."""
    console.print("[bold]Configuration[/] (what was chosen, and SFPO's own; the rest is as in TRL)")
    text = yaml.safe_dump(parsed.effective(), sort_keys=False, allow_unicode=True)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"[bold]Data[/]\n{len(task.train):,} problems to train on, {len(task.held_out):,} held out\n")
    console.print("[bold]Cost[/]" + (" (while the gate is open)" if parsed.training.gate != "off" else ""))
    for line in cost.estimate(parsed.training, len(task.train)).lines():
        console.print(line, highlight=False)
    if parsed.training.alpha == AUTO:
        console.print(
            "With alpha=auto a batch takes fewer passes where the fast ones reach the end of the KL budget, and one more for "
            "every step of the line search.",
            soft_wrap=True,
        )
    if parsed.training.target_kl is not None:
        console.print("The epochs of a batch end earlier where their KL is above 1.5 times target_kl.", soft_wrap=True)


def print_summary(console: Console, folder: Path, before: Evaluation, after: Evaluation, trainer: SFPOTrainer) -> None:
    """What training changed, where everything is, and what to do next."""
    table = Table(title=f"{after.problems} held-out problems, sampled once each", title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("accuracy", f"{before.accuracy:.1%}", f"{after.accuracy:.1%}")
    table.add_row("response length (tokens)", f"{before.mean_length:.1f}", f"{after.mean_length:.1f}")
    table.add_row("cut off", f"{before.cut_off:.1%}", f"{after.cut_off:.1%}")
    console.print(table)
    console.print(
        f"{trainer.rollouts:,} rollouts in {trainer.state.global_step} steps.\n"
        f"Model        {folder}\n"
        f"Metrics      {folder / METRICS}\n"
        f"Completions  {folder / COMPLETIONS}\n",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    sfpo = escape(command_line("train", []))
    if trainer.args.alpha != 0:
        console.print(
            f"Next: see what plain GRPO makes of the same prompts:  [bold]{sfpo} --method grpo[/]\n"
            f"or what a real model would cost:  [bold]{sfpo} --model Qwen/Qwen2.5-0.5B-Instruct "
            "--task gym:countdown --max_steps 200 --dry_run[/]",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(f"Next: the slow-fast update on the same prompts:  [bold]{sfpo}[/]", highlight=False)


def print_stopped(console: Console, folder: Path, checkpoint: Path | None, command: str) -> None:
    """Where a run stands that the user stopped, and the command that goes on."""
    if checkpoint is None:
        where = f"Stopped before there was a checkpoint in {folder}. Start again with:"
    else:
        step = checkpoint.name.rpartition("-")[2]
        where = f"Stopped. Step {step} and all before it are saved in {checkpoint}. Continue with:"
    for line in ("", where, command):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
