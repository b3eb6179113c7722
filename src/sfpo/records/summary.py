"""`summary.json` and `summary.md` of a comparison, computed from its `comparison.json` and `evaluations.csv` alone."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from sfpo.json_object import Shape, read_object
from sfpo.model.label import model_label
from sfpo.records import efficiency
from sfpo.records.comparison import read_evaluations
from sfpo.records.efficiency import Interval, Runs
from sfpo.records.rows import Row
from sfpo.whole import write_whole

SPECIFICATION, SUMMARY, TABLES = "comparison.json", "summary.json", "summary.md"

COMPARED: dict[str, Shape] = {
    "command": [str],
    "model": str,
    "task": str,
    "seeds": [int],
    "variants": [{"name": str, "method": str, "settings": dict, "baseline": str}],
    "failed": dict,
}
"""What `comparison.json` has for a summary."""

Summary = dict[str, Any]
NEARLY_REDUCTION = {name: f"{name}_reduction_to_{efficiency.NEARLY:g}" for name in ("rollout", "time")}
"""The keys of the reductions to `efficiency.NEARLY` of the baseline's best."""


def write_summary(folder: Path) -> Summary:
    """Compute the figures of the finished runs and write both files."""
    summary = summarise(folder)
    write_whole(folder / SUMMARY, as_json(summary))
    write_whole(folder / TABLES, as_markdown(summary))
    return summary


def summarise(folder: Path) -> Summary:
    """Every figure of a comparison; a number that would be infinite ("never", or a reduction "from the start") is None."""
    specification = read_object(folder / SPECIFICATION, COMPARED, "repeat sfpo compare")
    rows = read_evaluations(folder)
    of_variant: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        of_variant.setdefault(row["variant"], {}).setdefault(int(row["seed"]), []).append(row)
    seeds = specification["seeds"]
    variants = {}
    for variant in specification["variants"]:
        done = of_variant.get(variant["name"], {})
        baseline = of_variant.get(variant["baseline"], {})
        variants[variant["name"]] = {
            **{key: variant[key] for key in ("method", "settings", "baseline")},
            "seeds_done": [seed for seed in seeds if seed in done],
            "failed": specification["failed"].get(variant["name"], []),
            **(_figures(done, baseline, seeds) if done else {}),
        }
    return {
        **{key: specification[key] for key in ("model", "task", "seeds", "command")},
        "held_out_problems": int(max((row["problems"] for row in rows), default=0)),
        "variants": variants,
    }


def as_json(summary: Summary) -> str:
    """The text of `summary.json`."""
    return json.dumps(summary, indent=1, ensure_ascii=False) + "\n"


def _figures(done: dict[int, list[Row]], baseline: dict[int, list[Row]], seeds: list[int]) -> Summary:
    own = [seed for seed in seeds if seed in done]
    runs = _runs(done, own)
    low, high = efficiency.band(runs.accuracy)
    mean = runs.accuracy.mean(0)
    figures: Summary = {
        "curve": {
            "steps": [int(row["step"]) for row in done[own[0]]],
            "rollouts": _list(runs.rollouts.mean(0)),
            "seconds": _list(runs.seconds.mean(0)),
            "accuracy": _list(mean),
            "smoothed": _list(efficiency.smoothed(mean)),
            "low": _list(low),
            "high": _list(high),
            "length": _list(_column(done, own, "mean_length").mean(0)),
        },
        "final_accuracy": _json(efficiency.mean_interval(runs.accuracy[:, -1])),
        "best_evaluation": _json(efficiency.best_evaluation_interval(runs)),
        "best_accuracy": _json(efficiency.best_interval(runs)),
    }
    # Compare only the seeds that both have, because those share prompts and random numbers.
    both = [seed for seed in own if seed in baseline]
    if both and len(baseline[both[0]]) == len(done[both[0]]):
        ours, theirs = _runs(done, both), _runs(baseline, both)
        figures["target_accuracy"] = _finite(efficiency.best(theirs))
        difference = ours.accuracy[:, -1] - theirs.accuracy[:, -1]
        figures["final_difference"] = _json(efficiency.mean_interval(difference))
        for amount, name in (("rollouts", "rollout"), ("seconds", "time")):
            measured = efficiency.reduction(ours, theirs, amount)
            figures[f"{amount}_to_target"] = _json(measured.needed)
            figures[f"{name}_reduction"] = reduction_figures(measured)
            nearly = efficiency.reduction(ours, theirs, amount, efficiency.NEARLY)
            figures[NEARLY_REDUCTION[name]] = reduction_figures(nearly)
    return figures


def reduction_figures(measured: efficiency.Reduction) -> Summary:
    """A reduction as `times` takes it."""
    figures: Summary = _json(measured.reduction) | {"never_reached": measured.never_reached}
    if measured.is_from_start:
        figures["from_start"] = measured.from_start
    if measured.is_behind_from_start:
        figures["behind_from_start"] = 1.0
    return figures


def _runs(done: dict[int, list[Row]], seeds: list[int]) -> Runs:
    return Runs(*(_column(done, seeds, name) for name in ("rollouts", "seconds", "accuracy")))


def _column(done: dict[int, list[Row]], seeds: list[int], name: str) -> efficiency.Array:
    return np.array([[row[name] for row in done[seed]] for seed in seeds])


def _list(values: efficiency.Array) -> list[float]:
    return [_finite(value) or 0.0 for value in values]


def _json(interval: Interval) -> dict[str, float | None]:
    return {name: _finite(getattr(interval, name)) for name in ("value", "low", "high")}


def _finite(value: float | None) -> float | None:
    """The value rounded to its meaningful digits, so that files are the same on every machine."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


# ---- Tables -------------------------------------------------------------------------------------------------------


def as_markdown(summary: Summary) -> str:
    """The efficiency table and the accuracy table, in the paper's form."""
    seeds = len(summary["seeds"])
    lines = [
        f"# {model_label(summary['model'])} on {summary['task']}",
        "",
        f"{seeds} seed{'s' if seeds > 1 else ''}, {summary['held_out_problems']} held-out problems. In brackets: 95 % "
        "intervals, bootstrapped over seeds. Seconds are those of rollouts and updates.",
        "",
        *([note, ""] if (note := too_few_evaluations(summary)) else []),
        "## To reach GRPO's best accuracy",
        "",
        f"| variant | GRPO's best | rollouts | rollout reduction | to {efficiency.NEARLY:.0%} of it | seconds | time "
        f"reduction | to {efficiency.NEARLY:.0%} of it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in summary["variants"].items():
        if "rollout_reduction" in figures:
            cells = [f"{figures['target_accuracy']:.1%}"]
            for needed, form, reduced in (("rollouts", ",.0f", "rollout"), ("seconds", ",.1f", "time")):
                cells += [amount(figures[f"{needed}_to_target"], form), times(figures[f"{reduced}_reduction"])]
                cells += [times(figures[NEARLY_REDUCTION[reduced]])]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Held-out accuracy",
        "",
        "| variant | seeds | best evaluation | last evaluation | minus GRPO's last |",
        "|---|---|---|---|---|",
    ]
    for name, figures in summary["variants"].items():
        if "curve" not in figures:
            lines.append(f"| {name} | 0 | - | - | - |")
            continue
        difference = figures.get("final_difference")
        cells = [
            str(len(figures["seeds_done"])),
            percent(figures["best_evaluation"]),
            percent(figures["final_accuracy"]),
        ]
        cells.append(points(difference) if difference else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    failed = [
        f"- {name}, seed {one['seed']}: {one['error']}"
        for name, figures in summary["variants"].items()
        for one in figures["failed"]
    ]
    if failed:
        lines += ["", "## Failed runs", "", *failed]
    return "\n".join(lines) + "\n"


def too_few_evaluations(summary: Summary) -> str | None:
    """What to say where the curves have too few points to read anything off them, else None."""
    counts = [len(figures["curve"]["steps"]) for figures in summary["variants"].values() if "curve" in figures]
    if not counts or min(counts) > efficiency.TOO_FEW:
        return None
    return (
        f"**Too few evaluations:** {min(counts)}, the one before training included, do not tell when a target was reached. "
        "Compare again with a smaller --eval_every."
    )


def times(interval: Summary) -> str:
    """A reduction with its interval: `4.10× (3.60 to 4.40)`."""
    if (share := interval.get("from_start")) is not None:
        return "from the start" + (f" (in {share:.0%} of draws)" if share < 1 else "")
    if interval.get("behind_from_start"):
        return "0× (GRPO at start)"
    if not interval["value"]:
        return "never reached" + (f" (but in {1 - interval['never_reached']:.0%} of draws)" if interval["low"] else "")
    ends = ""
    if interval["low"] is not None:
        low = f"{interval['low']:.2f}" if interval["low"] else "never"
        ends = f" ({low} to {interval['high']:.2f})" if interval["high"] is not None else f" (from {low})"
    return f"{interval['value']:.2f}×{ends}"


def amount(interval: Summary, form: str) -> str:
    """Rollouts or seconds."""
    return "never" if interval["value"] is None else f"{interval['value']:{form}}"


def percent(interval: Summary) -> str:
    """An accuracy with its interval: `94.1 % (93.2 to 95.0)`."""
    ends = ""
    if interval["low"] is not None:
        ends = f" ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"
    return f"{100 * interval['value']:.1f} %{ends}"


def points(interval: Summary) -> str:
    """A difference of two accuracies with its interval: `−0.4 points (−0.8 to −0.1)`."""
    ends = ""
    if interval["low"] is not None:
        ends = f" ({_signed(interval['low'])} to {_signed(interval['high'])})"
    return f"{_signed(interval['value'])} points{ends}"


def _signed(difference: float) -> str:
    # Add 0 so that what rounds to nothing has no minus.
    shown = round(100 * difference, 1) + 0.0
    return f"{shown:+.1f}".replace("-", "−") if shown else "0.0"
