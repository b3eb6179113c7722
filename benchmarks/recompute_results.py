"""Recompute every figure of the comparisons under results/ from their raw records.

For each folder of `results/` that holds a comparison, `summary.json` and `summary.md` follow from `comparison.json` and
`evaluations.csv`. So do the tables of README.md and docs/evidence/results.md, each of which ends with `<!-- end -->`:

- `<!-- comparison NAME -->` begins the table of one comparison.
- `<!-- robustness NAME -->` begins how near a comparison's variants come to GRPO's best, and whether they hold it; `NAME first N`
  has N of them.
- `<!-- reposition NAME ... -->` begins SFPO's accuracy compared with multi-epoch GRPO's at the same number of passes.
- `<!-- closings SETTING ... -->` begins the steps at which gates with a setting (window/threshold/sides) would first have
  closed, from `gate-closures.json`.

This script writes all of them again; with `--check` it changes nothing and fails if something differs.

    python benchmarks/recompute_results.py
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from gate_closures import TARGET, shown

from sfpo.records.comparison import read_evaluations
from sfpo.records.efficiency import NEARLY, Interval, Runs, mean_interval, reduction, smoothed
from sfpo.records.summary import (
    NEARLY_REDUCTION,
    SPECIFICATION,
    SUMMARY,
    TABLES,
    Summary,
    amount,
    as_json,
    as_markdown,
    percent,
    points,
    reduction_figures,
    summarise,
    times,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/evidence/results.md", "docs/method/trust-region.md")
ALMOST = 0.98
"""The share of GRPO's best that the tables of robustness ask for."""
_REPOSITION = re.compile(r"(<!-- reposition ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CLOSINGS = re.compile(r"(<!-- closings ([\w/. -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ROBUSTNESS = re.compile(r"(<!-- robustness ([\w-]+)(?: first (\d+))? -->\n).*?(<!-- end -->)", re.DOTALL)
_TABLE = re.compile(r"(<!-- comparison ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a file differs")
    check = parser.parse_args().check
    wanted: dict[Path, str] = {}
    summaries: dict[str, Summary] = {}
    for specification in sorted(ROOT.glob(f"results/*/{SPECIFICATION}")):
        folder = specification.parent
        summaries[folder.name] = summary = summarise(folder)
        wanted[folder / SUMMARY] = as_json(summary)
        wanted[folder / TABLES] = as_markdown(summary)
    for page in PAGES:
        text = (ROOT / page).read_text()
        text = _TABLE.sub(lambda found: found[1] + table(summaries[found[2]]) + found[3], text)
        text = _REPOSITION.sub(lambda found: found[1] + reposition(found[2].split()) + found[3], text)
        text = _ROBUSTNESS.sub(
            lambda found: found[1] + robustness(found[2], int(found[3]) if found[3] else None) + found[4], text
        )
        wanted[ROOT / page] = _CLOSINGS.sub(lambda found: found[1] + closings(found[2].split()) + found[3], text)
    different = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in different:
        print(f"{'differs' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(wanted[path])
    print(f"{len(summaries)} comparisons, {len(wanted) - len(different)} of {len(wanted)} files as they were")
    return int(check and bool(different))


def table(summary: Summary) -> str:
    """One row per variant: what it needs to reach GRPO's best accuracy, and its accuracy at the end."""
    lines = [
        f"| | rollouts to GRPO's best | reduction | to {NEARLY:.0%} of it | time reduction | accuracy at the end |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in summary["variants"].items():
        cells = [name.replace(",", ", ")]
        if "rollout_reduction" in figures:
            cells += [amount(figures["rollouts_to_target"], ",.0f")]
            reductions = ("rollout_reduction", NEARLY_REDUCTION["rollout"], "time_reduction")
            cells += [times(figures[name]) for name in reductions]
        else:
            cells += ["-", "-", "-", "-"]
        cells.append(percent(figures["final_accuracy"]) if "final_accuracy" in figures else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def reposition(names: list[str]) -> str:
    """One row per comparison and learning rate: SFPO's final accuracy minus that of multi-epoch GRPO, seed by seed."""
    lines = ["| comparison | learning rate | seeds | SFPO minus multi-epoch GRPO, at the end |", "|---|---|---|---|"]
    for name in names:
        ends: dict[str, dict[int, float]] = {}
        for row in read_evaluations(ROOT / "results" / name):
            ends.setdefault(row["variant"], {})[int(row["seed"])] = row["accuracy"]  # the last one stays
        of_sfpo = [variant for variant in ends if re.fullmatch(r"sfpo,learning_rate=[^,]+", variant)]
        for variant in sorted(of_sfpo, key=lambda variant: float(variant.partition("=")[2])):
            other = ends[variant.replace("sfpo", "multi_epoch")]
            seeds = sorted(ends[variant].keys() & other.keys())
            difference = mean_interval(np.array([ends[variant][seed] - other[seed] for seed in seeds]))
            shown = points(asdict(difference))
            lines.append(f"| {name} | {variant.partition('=')[2]} | {len(seeds)} | {shown} |")
    return "\n".join(lines) + "\n"


def robustness(name: str, count: int | None) -> str:
    """One row for each of the first `count` variants, or of all: rollouts to almost all of GRPO's best, the end over seeds, the worst seed, and the deepest fall.

    A fall is how far a seed's curve, smoothed as ever, lies below its own earlier maximum, in points.
    """
    folder = ROOT / "results" / name
    of_variant: dict[str, dict[int, list[tuple[float, float, float]]]] = {}
    for row in read_evaluations(folder):
        point = (row["rollouts"], row["seconds"], row["accuracy"])
        of_variant.setdefault(row["variant"], {}).setdefault(int(row["seed"]), []).append(point)
    lines = [
        f"| | seeds | rollouts to {ALMOST:.0%} of GRPO's best | reduction | accuracy at the end | worst seed | deepest fall |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in json.loads((folder / SPECIFICATION).read_text())["variants"][:count]:
        done, baseline = of_variant.get(variant["name"], {}), of_variant.get(variant["baseline"], {})
        seeds = sorted(done.keys() & baseline.keys())
        if not seeds:
            continue
        ours, theirs = (Runs(*np.moveaxis(np.array([of[s] for s in seeds]), -1, 0)) for of in (done, baseline))
        found = reduction(ours, theirs, "rollouts", ALMOST)
        curves = smoothed(ours.accuracy)
        fall = (np.maximum.accumulate(curves, axis=-1) - curves).max()
        ends = ours.accuracy[:, -1]
        cells = [
            variant["name"].replace(",", ", "),
            str(len(seeds)),
            "never" if np.isinf(found.needed.value) else f"{found.needed.value:,.0f}",
            times(reduction_figures(found)),
            percent(_finite(mean_interval(ends))),
            f"{ends.min():.1%}".replace("%", " %"),
            f"{100 * fall:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _finite(interval: Interval) -> dict[str, float | None]:
    ends = asdict(interval).items()
    return {name: None if value is None or np.isinf(value) else value for name, value in ends}


def closings(settings: list[str]) -> str:
    """One row per setting and one column per set of runs: the step of the first closing, the median over seeds."""
    steps: dict[str, int] = {}
    first: dict[tuple[str, str], str] = {}
    for row in json.loads(TARGET.read_text())["closings"]:
        setting = f"{row['window']}/{row['threshold']:g}/{row['sides']}"
        steps[row["runs"]] = row["steps"]
        # A window that the run cannot fill says nothing.
        first[setting, row["runs"]] = shown(row["first_closing"]) if row["steps"] > row["window"] else "–"
    names = sorted(steps, key=lambda name: (steps[name], float((name + "=0").split("=")[1])))
    heads = [f"{name.replace(': sfpo', '').replace(',learning_rate=', ' ')}, {steps[name]} steps" for name in names]
    lines = [f"| ω | τ | sides | {' | '.join(heads)} |", "|---|---|---|" + "---|" * len(names)]
    for setting in settings:
        cells = [*setting.split("/"), *(first[setting, name] for name in names)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
