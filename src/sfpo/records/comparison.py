"""The records that a comparison keeps of every run: `steps.csv` and `evaluations.csv`, which suffice to recompute every
figure."""

import csv
import io
from pathlib import Path
from typing import Any

from sfpo.records.rows import Row
from sfpo.records.run import evaluations_due, read_metrics, spent
from sfpo.whole import write_whole

STEPS, EVALUATIONS = "steps.csv", "evaluations.csv"

KEYS_OF_STEPS = {
    "rollouts": "sfpo/rollouts",
    "rollout_seconds": "sfpo/rollout_seconds",
    "update_seconds": "sfpo/update_seconds",
    "reward": "reward",
    "length": "completions/mean_length",
    "entropy": "sfpo/entropy",
    "z": "sfpo/z",
    "alpha": "sfpo/alpha",
    "active_share": "sfpo/active_share",
    "kl_budget": "sfpo/kl_budget",
    "kl_predicted": "sfpo/kl_predicted",
    "kl_reached": "sfpo/kl_reached",
    "line_search_steps": "sfpo/line_search_steps",
    "passes": "sfpo/passes",
    "drift": "sfpo/drift",
    "grad_norm": "grad_norm",
    "equal_groups": "frac_reward_zero_std",
}
"""Columns of `steps.csv` and the keys of the training log that they hold."""
_EVALUATED = ("accuracy", "mean_length", "cut_off", "problems")


def run_folder(folder: Path, variant: str, seed: int) -> Path:
    """The folder in which a comparison keeps one run of `sfpo train`."""
    return folder / "runs" / variant / f"seed-{seed}"


def rows_of_run(folder: Path) -> tuple[list[Row], list[Row]]:
    """Steps and evaluations of a finished run that lacks none of its records; `seconds` count rollouts and updates up to an evaluation."""
    logged = read_metrics(folder, "train")
    so_far = spent(logged)
    compared = so_far.keys() & evaluations_due(folder)
    steps = [
        {"step": row["step"], **{name: row.get(key, "") for name, key in KEYS_OF_STEPS.items()}} for row in logged
    ]
    evaluations = [
        {
            "step": row["step"],
            "rollouts": so_far[row["step"]][0],
            "seconds": so_far[row["step"]][1],
            **{name: row[name] for name in _EVALUATED},
        }
        for row in read_metrics(folder, "evaluation")
        if row["step"] in compared
    ]
    return steps, evaluations


def collect(folder: Path, runs: list[tuple[str, int]]) -> None:
    """Write the two files of a comparison from its finished runs, each given as a variant and a seed."""
    steps: list[Row] = []
    evaluations: list[Row] = []
    for variant, seed in runs:
        own = rows_of_run(run_folder(folder, variant, seed))
        for rows, target in zip(own, (steps, evaluations), strict=True):
            target += [{"variant": variant, "seed": seed, **row} for row in rows]
    _write(folder / STEPS, steps)
    _write(folder / EVALUATIONS, evaluations)


def read_evaluations(folder: Path) -> list[Row]:
    """The rows of `evaluations.csv`, numbers as numbers."""
    with (folder / EVALUATIONS).open(newline="") as file:
        return [
            {name: value if name == "variant" else float(value) for name, value in row.items() if value != ""}
            for row in csv.DictReader(file)
        ]


def _write(path: Path, rows: list[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["variant"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _short(value) for name, value in row.items()} for row in rows)
    write_whole(path, text.getvalue())


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
