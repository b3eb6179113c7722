"""The files that a run writes, and what they say of it; needs neither torch nor transformers."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from sfpo.records.rows import Row, read_rows
from sfpo.whole import Fingerprint, damage, fingerprint

METRICS, COMPLETIONS, CONFIG, RUN = "metrics.jsonl", "completions.jsonl", "config.yaml", "run.json"


def read_facts(folder: Path) -> dict[str, Any]:
    """What `run.json` says; nothing if it is missing or broken."""
    return _mapping(folder / RUN, json.loads)


def read_configuration(folder: Path) -> dict[str, Any]:
    """What `config.yaml` says; nothing if it is missing or broken."""
    return _mapping(folder / CONFIG, yaml.safe_load)


def is_finished(folder: Path) -> bool:
    """Whether `folder` holds a run of `sfpo train` that finished."""
    return "finished" in read_facts(folder)


def model_files(folder: Path) -> dict[str, Fingerprint]:
    """The weights that a run has saved as its result, as `run.json` notes them."""
    return {
        path.name: fingerprint(path) for path in sorted(folder.iterdir()) if path.suffix in {".safetensors", ".bin"}
    }


def missing_model(folder: Path) -> str | None:
    """What a finished run lacks of the model that it had saved, in words that fit after "lacks"; None if nothing."""
    noted = read_facts(folder).get("model")
    if noted is None:  # a run of an earlier version
        return None if model_files(folder) else "its weights"
    try:
        files = {name: (size, checksum) for name, (size, checksum) in noted.items()}
    except (AttributeError, TypeError, ValueError):
        return f"a whole {RUN}"
    return damage(folder, files) if files else "its weights"


def missing_records(folder: Path) -> str | None:
    """What a finished run lacks of the records that it must have, in words; None if it has them all."""
    rows = read_rows(folder / METRICS)
    if not rows:
        return f"{METRICS} is missing or empty"
    last = read_facts(folder).get("steps", max(_steps(rows, "train"), default=0))
    every = read_configuration(folder).get("eval_every", 0)
    expected = {0, last, *(range(every, last, every) if every else ())}
    if missing := sorted(expected - _steps(rows, "evaluation")):
        return f"{METRICS} has no evaluation of step {missing[0]}"
    return None


def _steps(rows: Iterable[Row], kind: str) -> set[int]:
    return {row["step"] for row in rows if row.get("kind") == kind and "step" in row}


def _mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def spent(steps: Iterable[Row]) -> dict[int, tuple[float, float]]:
    """Rollouts sampled, and seconds spent on rollouts and updates, up to each logged step; both are 0 at step 0.

    Args:
        steps: the rows of kind "train", in order.
    """
    so_far = {0: (0.0, 0.0)}
    previous = 0
    for row in steps:
        step = row["step"]
        # A logged value is the mean since the previous log.
        seconds = (row.get("sfpo/rollout_seconds", 0.0) + row.get("sfpo/update_seconds", 0.0)) * (step - previous)
        rollouts, elapsed = so_far[previous]
        so_far[step] = (row.get("sfpo/rollouts", rollouts), elapsed + seconds)
        previous = step
    return so_far
