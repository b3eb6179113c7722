"""What is kept of every run: `steps.csv` and `evaluations.csv`, from which all that is said can be computed again."""

import csv
import json
from pathlib import Path
from typing import Any

from sfpo.training.records import METRICS, read_rows

STEPS, EVALUATIONS = "steps.csv", "evaluations.csv"

# Columns of steps.csv and the keys of the training log that they hold.
_LOGGED = {
    "rollouts": "sfpo/rollouts",
    "rollout_seconds": "sfpo/rollout_seconds",
    "update_seconds": "sfpo/update_seconds",
    "reward": "reward",
    "length": "completions/mean_length",
    "entropy": "sfpo/entropy",
    "z": "sfpo/z",
    "alpha": "sfpo/alpha",
    "drift": "sfpo/drift",
    "grad_norm": "grad_norm",
    "equal_groups": "frac_reward_zero_std",
}
_EVALUATED = ("accuracy", "mean_length", "cut_off", "problems")

Row = dict[str, Any]


def run_folder(folder: Path, variant: str, seed: int) -> Path:
    """Where a comparison keeps one run of `sfpo train`."""
    return folder / "runs" / variant / f"seed-{seed}"


def rows_of_run(folder: Path) -> tuple[list[Row], list[Row]]:
    """Steps and evaluations of one run; `seconds` are those of rollouts and updates up to an evaluation."""
    steps: list[Row] = []
    evaluations: list[Row] = []
    elapsed, rollouts, previous = {0: 0.0}, {0: 0.0}, 0
    rows = read_rows(folder / METRICS)
    for row in rows:
        if row["kind"] == "train":
            step = row["step"]
            # What is logged is the mean since the last log.
            seconds = (row["sfpo/rollout_seconds"] + row["sfpo/update_seconds"]) * (step - previous)
            elapsed[step], rollouts[step] = elapsed[previous] + seconds, row["sfpo/rollouts"]
            steps.append({"step": step, **{name: row.get(key, "") for name, key in _LOGGED.items()}})
            previous = step
    for row in rows:
        if row["kind"] == "evaluation" and row["step"] in elapsed:
            step = row["step"]
            own = {name: row[name] for name in _EVALUATED}
            evaluations.append({"step": step, "rollouts": rollouts[step], "seconds": elapsed[step], **own})
    return steps, evaluations


def is_finished(run: Path) -> bool:
    """Whether a run of `sfpo train` came to its end."""
    facts = run / "run.json"
    return facts.is_file() and "finished" in json.loads(facts.read_text())


def collect(folder: Path, runs: list[tuple[str, int]]) -> None:
    """Write the two files of a comparison from its finished runs, each a variant and a seed."""
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
            {name: value if name == "variant" else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["variant"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _short(value) for name, value in row.items()} for row in rows)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
