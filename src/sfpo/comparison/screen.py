"""What the terminal says of a finished comparison: the tables of `summary.md`, in 80 columns without losing a number."""

from rich.console import Console
from rich.table import Table

from sfpo.records import efficiency
from sfpo.records.summary import NEARLY_REDUCTION, Summary, amount, percent, points, times, too_few_evaluations


def print_tables(console: Console, summary: Summary) -> None:
    """The rollouts, the seconds and the accuracies of all variants, and what failed."""
    seeds = len(summary["seeds"])
    intervals = (
        " In brackets: 95 % intervals, bootstrapped over seeds." if seeds > 1 else " One seed gives no interval."
    )
    console.print(
        f"\n{seeds} seed{'s' if seeds > 1 else ''}, {summary['held_out_problems']:,} held-out problems.{intervals}",
        highlight=False,
    )
    if (note := too_few_evaluations(summary)) is not None:
        console.print(f"[yellow]{note.replace('**', '')}[/]")
    variants = summary["variants"]
    measured = {name: figures for name, figures in variants.items() if "rollout_reduction" in figures}
    if measured:
        for what, needed, form, reduced in (
            ("Rollouts", "rollouts", ",.0f", "rollout"),
            ("Seconds", "seconds", ",.1f", "time"),
        ):
            table = _table(f"{what} to reach GRPO's best accuracy", "GRPO's best", what.lower(), "fewer", _NEARLY)
            for name, figures in measured.items():
                table.add_row(
                    name.replace(",", ", "),
                    f"{figures['target_accuracy']:.1%}",
                    amount(figures[f"{needed}_to_target"], form),
                    _two_lines(times(figures[f"{reduced}_reduction"])),
                    _two_lines(times(figures[NEARLY_REDUCTION[reduced]])),
                )
            console.print(table)
    table = _table("Held-out accuracy", "seeds", "best", "last", "minus GRPO's")
    for name, figures in variants.items():
        if "curve" not in figures:
            table.add_row(name.replace(",", ", "), "0", "–", "–", "–")
            continue
        difference = figures.get("final_difference")
        table.add_row(
            name.replace(",", ", "),
            str(len(figures["seeds_done"])),
            _two_lines(percent(figures["best_evaluation"])),
            _two_lines(percent(figures["final_accuracy"])),
            _two_lines(points(difference)) if difference else "–",
        )
    console.print(table)
    for name, figures in variants.items():
        for one in figures["failed"]:
            console.print(
                f"Failed: {name}, seed {one['seed']}: {one['error']}", markup=False, highlight=False, soft_wrap=True
            )


_NEARLY = f"to {efficiency.NEARLY:.0%}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("variant", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _two_lines(text: str) -> str:
    """The interval under its value, in few columns."""
    value, bracket, interval = text.replace("never reached", "never").partition(" (")
    return f"{value}\n({interval}" if bracket else value
