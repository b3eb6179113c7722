"""The files that a run writes, and what they say of it; needs neither torch nor transformers."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from sfpo.errors import UsageError
from sfpo.json_object import Shape, flaw, read_object
from sfpo.records.rows import Row, read_rows
from sfpo.whole import Fingerprint, damage, fingerprint

METRICS, COMPLETIONS, CONFIG, RUN = "metrics.jsonl", "completions.jsonl", "config.yaml", "run.json"
RUN_FILES = (METRICS, COMPLETIONS, CONFIG, RUN)

METRICS_ROW: dict[str, Shape] = {"kind": str, "step": int}
"""What every row of `metrics.jsonl` has."""
_EVALUATION: dict[str, Shape] = {
    "accuracy": int | float,
    "mean_length": int | float,
    "cut_off": int | float,
    "problems": int,
}
_WEIGHTS = {".safetensors", ".bin"}
_BESIDE_WEIGHTS = {
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
_COSTS = ("sfpo/rollouts", "sfpo/rollout_seconds", "sfpo/update_seconds")


def read_metrics(folder: Path, kind: str) -> list[Row]:
    """One row a step of those of a kind in `metrics.jsonl`, in order, without damaged ones."""
    of_step: dict[int, Row] = {}
    for row in read_rows(folder / METRICS, METRICS_ROW):
        shape: Shape = _EVALUATION if kind == "evaluation" else {name: int | float for name in _COSTS if name in row}
        if row["kind"] == kind and flaw(row, shape) is None:
            of_step.setdefault(row["step"], row)
    return [of_step[step] for step in sorted(of_step)]


def read_facts(folder: Path) -> dict[str, Any]:
    """What `run.json` says; nothing if it is missing or broken."""
    try:
        facts = read_object(folder / RUN, {}, "")
    except (OSError, UsageError):
        return {}
    return facts if type(facts.get("steps", 0)) is int else {}


def read_configuration(folder: Path) -> dict[str, Any]:
    """What `config.yaml` says; nothing if it is missing or broken."""
    try:
        value = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_finished(folder: Path) -> bool:
    """Whether `folder` holds a run of `sfpo train` that finished."""
    return "finished" in read_facts(folder)


def finished_after(folder: Path) -> int | None:
    """After how many steps a run of `sfpo train` finished, None if it did not.

    Where `run.json` is missing or broken, its metrics tell: the summary is written after the last step, and then its
    evaluation.
    """
    if facts := read_facts(folder):
        if "finished" not in facts:
            return None
        noted: int | None = facts.get("steps")
        return max((row["step"] for row in read_metrics(folder, "train")), default=0) if noted is None else noted
    evaluated = {row["step"] for row in read_metrics(folder, "evaluation")}
    return next((row["step"] for row in read_metrics(folder, "summary") if row["step"] in evaluated), None)


def model_files(folder: Path) -> dict[str, Fingerprint]:
    """What a run has saved of its model, as `run.json` notes it."""
    saved = (path for path in sorted(folder.iterdir()) if path.suffix in _WEIGHTS or path.name in _BESIDE_WEIGHTS)
    return {path.name: fingerprint(path) for path in saved if path.is_file()}


def missing_model(folder: Path) -> str | None:
    """What a finished run lacks of the model that it had saved, in words that fit after "lacks"; None if nothing."""
    noted = read_facts(folder).get("model")
    if noted is None:  # a run of an earlier version
        return None if any(folder.glob("*.safetensors")) else "its weights"
    try:
        files = {name: (size, checksum) for name, (size, checksum) in noted.items()}
    except (AttributeError, TypeError, ValueError):
        return f"a whole {RUN}"
    return damage(folder, files) if files else "its weights"


def missing_records(folder: Path) -> str | None:
    """What a finished run lacks of the records that it must have, in words; None if it has them all."""
    if not read_rows(folder / METRICS):
        return f"{METRICS} is missing or empty"
    configuration = read_configuration(folder)
    if flaw(configuration, {"eval_every": int}) is not None:
        return f"{CONFIG} is missing or broken"
    is_logged_by_steps = configuration.get("logging_strategy", "steps") == "steps"
    logged = _multiples(configuration.get("logging_steps"), finished_after(folder) or 0) if is_logged_by_steps else ()
    for kind, named, due in (("evaluation", "evaluation", evaluations_due(folder)), ("train", "row", logged)):
        made = {row["step"] for row in read_metrics(folder, kind)}
        if (missing := next((step for step in due if step not in made), None)) is not None:
            return f"{METRICS} has no {named} of step {missing}"
    return None


def evaluations_due(folder: Path) -> Iterator[int]:
    """The steps after which a finished run was to be evaluated, in order; as many as `run.json` says, which may be absurd."""
    last = finished_after(folder) or 0
    return chain((0,), _multiples(read_configuration(folder).get("eval_every"), last), (last,))


def _multiples(every: Any, last: int) -> range:
    """The steps up to the last at which something was due; none if `every` is no number of steps."""
    return range(every, last + 1, every) if type(every) is int and every > 0 else range(0)


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
