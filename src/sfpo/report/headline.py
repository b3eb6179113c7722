"""The numbers at the top of a report, with their intervals, and its tables."""

from dataclasses import dataclass, field
from itertools import islice

from sfpo.records.efficiency import NEARLY
from sfpo.records.summary import NEARLY_REDUCTION, amount, percent, points, times
from sfpo.report.colors import NEUTRAL, Color, color_of
from sfpo.report.comparison_figures import has_curve
from sfpo.report.folder import Comparison, Run, Variant, column
from sfpo.report.gate import closed_steps, has_gate
from sfpo.report.run_figures import evaluated, interval_of
from sfpo.report.wording import counted

_MOST_CARDS, _MOST_ROWS = 6, 50


@dataclass(frozen=True)
class Card:
    """A card that shows `value` in large type, `detail` right below it, and `lines` further down."""

    label: str
    value: str
    detail: str
    lines: list[str] = field(default_factory=list)
    color: Color = NEUTRAL


@dataclass(frozen=True)
class Table:
    """A table of text cells whose first column names the row. `colors` has one colour per row, or none at all."""

    title: str
    caption: str
    columns: list[str]
    rows: list[list[str]]
    colors: list[Color] = field(default_factory=list)


def cards_of_run(run: Run) -> list[Card]:
    """Accuracy, reward, cost and gate of one run."""
    color = color_of(run.method)
    cards = []
    known = evaluated(run)
    if known:
        accuracy, low, high = interval_of(known[-1])
        lines = [f"{known[-1]['problems']:,} held-out problems, after step {known[-1]['step']:,}"]
        if len(known) > 1:
            lines.append(f"from {100 * known[0]['accuracy']:.1f} % after step {known[0]['step']:,}")
        if len(known) > 2:
            best = max(known, key=lambda row: float(row["accuracy"]))
            lines.append(f"best {100 * best['accuracy']:.1f} %, after step {best['step']:,}")
        detail = f"95 %: {100 * low:.1f} to {100 * high:.1f}"
        cards.append(Card("held-out accuracy", f"{100 * accuracy:.1f} %", detail, lines, color))
        if len(known) > 1 and "mean_length" in known[-1]:
            before, after = known[0]["mean_length"], known[-1]["mean_length"]
            lines = [f"cut off: {100 * known[-1]['cut_off']:.1f} %"] if "cut_off" in known[-1] else []
            cards.append(Card("response length", f"{after:.1f} tokens", f"from {before:.1f}, held-out", lines, color))
    rewards = [value for value in column(run.steps, "reward") if value is not None]
    if rewards:
        tenth = max(1, len(rewards) // 10)
        first, last = (sum(part) / len(part) for part in (rewards[:tenth], rewards[-tenth:]))
        over = "step" if tenth == 1 else f"{tenth} steps"
        cards.append(Card("mean reward", f"{last:.3f}", f"last {over}; first: {first:.3f}", [], color))
    if run.steps:
        rollouts, seconds = run.spent[run.steps[-1]["step"]]
        share = _rollout_share(run)
        lines = [f"{_duration(seconds)} of rollouts and updates"] if seconds > 0 else []
        lines += [f"{100 * share:.0f} % rollouts, {100 * (1 - share):.0f} % updates"] if share is not None else []
        cards.append(Card("rollouts", f"{rollouts:,.0f}", f"in {run.steps[-1]['step']:,} steps", lines, color))
    if has_gate(run):
        closed = closed_steps(run)
        value = f"closed at step {closed[0]:,}" if closed else "open"
        detail = f"closed in {len(closed):,} of {counted(len(run.steps), 'step')}"
        cards.append(Card("entropy gate", value, detail, [], color))
    return cards


def tables_of_run(run: Run) -> list[Table]:
    """The last score on each benchmark."""
    last = {str(row.get("benchmark")): row for row in run.benchmarks if "pass@1" in row}
    last = dict(islice(last.items(), _MOST_ROWS))
    if not last:
        return []
    rows = [
        [
            name,
            percent({"value": row["pass@1"], "low": row.get("pass@1_low"), "high": row.get("pass@1_high")}),
            f"{row.get('problems', 0):,}",
            str(row.get("samples", "")),
            f"{row['step']:,}",
        ]
        for name, row in last.items()
    ]
    caption = "In brackets: 95 % intervals over problems."
    return [Table("Benchmarks", caption, ["benchmark", "pass@1", "problems", "samples each", "step"], rows)]


def cards_of_comparison(comparison: Comparison, looks: dict[str, Color]) -> list[Card]:
    """Each variant's savings to reach its baseline's best; no cards if a sweep has too many variants to show them all."""
    shown = [
        variant
        for variant in comparison.variants
        if has_curve(variant)
        and "rollout_reduction" in variant.figures
        and variant.figures.get("baseline") != variant.name
    ]
    return [_card(variant, looks[variant.name]) for variant in shown] if len(shown) <= _MOST_CARDS else []


def tables_of_comparison(comparison: Comparison, looks: dict[str, Color]) -> list[Table]:
    """The efficiency and accuracy tables of the comparison's own summary."""
    tables = []
    efficient = [
        variant for variant in comparison.variants if has_curve(variant) and "rollout_reduction" in variant.figures
    ]
    if efficient:
        rows = []
        for variant in efficient:
            figures = variant.figures
            target = figures.get("target_accuracy")
            never = figures["seconds_to_target"]["value"] is None
            nearly = figures.get(NEARLY_REDUCTION["rollout"])  # missing in summaries written before its definition
            rows.append(
                [
                    variant.title,
                    "–" if target is None else f"{100 * target:.1f} %",
                    amount(figures["rollouts_to_target"], ",.0f"),
                    times(figures["rollout_reduction"]),
                    "–" if nearly is None else times(nearly),
                    amount(figures["seconds_to_target"], ",.1f") + ("" if never else " s"),
                    times(figures["time_reduction"]),
                ]
            )
        columns = ["variant", "GRPO's best", "rollouts to it", "rollout reduction", f"to {100 * NEARLY:.0f} % of it"]
        columns += ["time to it", "time reduction"]
        caption = (
            "GRPO's best is the highest accuracy of its mean curve, each evaluation averaged with its neighbours. In "
            "brackets: 95 % bootstrap intervals over seeds."
        )
        tables.append(Table("To reach GRPO's best accuracy", caption, columns, rows, _row_colors(efficient, looks)))
    known = [variant for variant in comparison.variants if "final_accuracy" in variant.figures]
    if known:
        rows = [
            [
                variant.title,
                str(len(variant.figures["seeds_done"])),
                percent(best) if (best := variant.figures.get("best_evaluation")) else "–",
                percent(variant.figures["final_accuracy"]),
                points(difference) if (difference := variant.figures.get("final_difference")) else "–",
            ]
            for variant in known
        ]
        columns = ["variant", "seeds", "best evaluation", "last evaluation", "minus GRPO's last"]
        caption = (
            "Means over seeds. In brackets: 95 % bootstrap intervals over seeds; differences in percentage points."
        )
        tables.append(Table("Held-out accuracy", caption, columns, rows, _row_colors(known, looks)))
    return tables


def gate_tables_of_comparison(comparison: Comparison) -> list[Table]:
    """The steps at which the gate of each run closed."""
    rows = []
    for variant in comparison.variants:
        for seed, run in variant.runs.items():
            if has_gate(run):
                closed = closed_steps(run)
                cells = [f"{closed[0]:,}" if closed else "never", f"{len(closed):,} of {len(run.steps):,}"]
                rows.append([variant.title, str(seed), *cells])
    columns = ["variant", "seed", "first closed step", "closed steps"]
    return [Table("When the gates closed", "One row for each run that has a gate.", columns, rows)] if rows else []


def _card(variant: Variant, color: Color) -> Card:
    figures = variant.figures
    final = f"{percent(figures['final_accuracy'])} accuracy at the end"
    rollouts, time, target = "rollout_reduction", "time_reduction", "GRPO's best accuracy"
    nearly = figures.get(NEARLY_REDUCTION["rollout"])
    if figures["rollouts_to_target"]["value"] is None and nearly and nearly["value"] and "from_start" not in nearly:
        rollouts, time = NEARLY_REDUCTION["rollout"], NEARLY_REDUCTION["time"]
        target = f"{100 * NEARLY:.0f} % of GRPO's best accuracy; the best was never reached"
    elif figures["rollouts_to_target"]["value"] is None or "from_start" in figures["rollout_reduction"]:
        # The text also says in how many draws of seeds that is so.
        value, _, detail = times(figures["rollout_reduction"]).partition(" (")
        lines = ["GRPO's best accuracy, within the same budget", final]
        return Card(variant.title, value, detail.rstrip(")"), lines, color)
    value, _, interval = times(figures[rollouts]).partition(" (")
    detail = f"rollout reduction{f' (95 %: {interval}' if interval else ', one seed'}"
    lines = [f"on the way to {target}", f"{times(figures[time])} time reduction", final]
    return Card(variant.title, value, detail, lines, color)


def _row_colors(variants: list[Variant], looks: dict[str, Color]) -> list[Color]:
    return [looks[variant.name] for variant in variants]


def _rollout_share(run: Run) -> float | None:
    rollout, update = (
        sum(value for value in column(run.steps, f"sfpo/{part}_seconds") if value is not None)
        for part in ("rollout", "update")
    )
    return rollout / (rollout + update) if rollout + update > 0 else None


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
