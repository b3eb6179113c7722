"""Read the folder of a run or a comparison as plain data."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sfpo.errors import UsageError
from sfpo.options import config_of
from sfpo.records.comparison import EVALUATIONS, STEPS, read_evaluations, read_steps, run_folder
from sfpo.records.provenance import PROVENANCE
from sfpo.records.rows import Row, read_rows
from sfpo.records.run import COMPLETIONS, CONFIG, METRICS, RUN, spent
from sfpo.records.settings import settings_of_run, settings_of_variant
from sfpo.records.summary import SPECIFICATION, SUMMARY


@dataclass(frozen=True)
class Run:
    """One run of `sfpo train`, with the rows of its `metrics.jsonl` and `completions.jsonl`."""

    name: str
    method: str
    steps: list[Row] = field(default_factory=list)
    evaluations: list[Row] = field(default_factory=list)
    benchmarks: list[Row] = field(default_factory=list)
    completions: list[Row] = field(default_factory=list)
    configuration: str = ""
    """The text of `config.yaml`, empty if there is none."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings in that text, or in the comparison if the run left no such text, and the defaults of all others."""
    facts: dict[str, Any] = field(default_factory=dict)
    """`run.json`."""
    notes: list[str] = field(default_factory=list)
    """Remarks for the reader, such as files that cannot be read."""

    @property
    def spent(self) -> dict[int, tuple[float, float]]:
        """Rollouts and seconds up to each logged step."""
        return spent(self.steps)


@dataclass(frozen=True)
class Variant:
    """One entry of a comparison with its runs by seed; `figures` is its entry in `summary.json`, empty if it has none."""

    name: str
    method: str
    settings: dict[str, str]
    runs: dict[int, Run]
    figures: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One `sfpo compare`."""

    model: str
    task: str
    command: list[str]
    seeds: list[int]
    variants: list[Variant]
    held_out_problems: int
    notes: list[str]
    provenance: Any
    """The code, versions and machine that made it, as far as they are known."""

    @property
    def varied(self) -> dict[str, list[str]]:
        """Settings that differ between the variants, with all their values, including those of variants added later."""
        values: dict[str, list[str]] = {}
        for variant in self.variants:
            for name, value in variant.settings.items():
                if value not in values.setdefault(name, []):
                    values[name].append(value)
        return values


def read_folder(folder: Path) -> Run | Comparison:
    """The run or the comparison in `folder`.

    Raises:
        UsageError: `folder` is not a folder, holds neither a run nor a comparison, or one of its files is broken.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give the --output_dir of sfpo train or sfpo compare")
    if (folder / SPECIFICATION).is_file():
        return _read_comparison(folder)
    if (folder / METRICS).is_file():
        return read_run(folder, folder.resolve().name)
    raise UsageError(
        f"{folder} holds neither a run ({METRICS}) nor a comparison ({SPECIFICATION}): give the --output_dir of sfpo train "
        "or sfpo compare"
    )


def read_run(folder: Path, name: str) -> Run:
    """The run in `folder`, finished or not."""
    notes = []
    configuration = _text(folder / CONFIG)
    try:
        settings = yaml.safe_load(configuration) or {}
        if not isinstance(settings, dict):
            raise yaml.YAMLError
    except yaml.YAMLError:
        settings = {}
        notes.append(f"{CONFIG} cannot be read as a configuration.")
    rows = [row for row in read_rows(folder / METRICS) if isinstance(row, dict) and isinstance(row.get("step"), int)]
    completions = [row for row in read_rows(folder / COMPLETIONS) if isinstance(row, dict)]
    facts = _json(folder / RUN) if (folder / RUN).is_file() else {}
    if "finished" not in facts and not any(row.get("kind") == "summary" for row in rows):
        notes.append("This run has not finished: the report shows the steps that it has recorded.")
    kinds = {kind: [row for row in rows if row.get("kind") == kind] for kind in ("train", "evaluation", "benchmark")}
    return Run(
        name,
        str(settings.get("method", "run")),
        kinds["train"],
        kinds["evaluation"],
        kinds["benchmark"],
        completions,
        configuration,
        settings_of_run(settings),
        facts,
        notes,
    )


def column(rows: list[Row], key: str) -> list[float | None]:
    """One value per row; None if it is missing or not a finite number."""
    return [
        float(value) if isinstance(value := row.get(key), int | float) and math.isfinite(value) else None
        for row in rows
    ]


def _read_comparison(folder: Path) -> Comparison:
    specification = _json(folder / SPECIFICATION)
    notes = []
    summary: dict[str, Any] = {}
    if (folder / SUMMARY).is_file():
        summary = _json(folder / SUMMARY)
    else:
        notes.append("There is no summary yet: repeat the same sfpo compare command to finish the comparison.")
    recorded = _recorded_runs(folder)
    variants = []
    try:
        seeds = [int(seed) for seed in specification["seeds"]]
        for variant in specification["variants"]:
            name = str(variant["name"])
            figures = summary.get("variants", {}).get(name, {})
            runs = {}
            for seed in seeds:
                label, path = f"{name}, seed {seed}", run_folder(folder, name, seed)
                if (path / METRICS).is_file():
                    runs[seed] = read_run(path, label)
                elif (name, seed) in recorded:
                    steps, evaluations = recorded[name, seed]
                    settings = settings_of_variant(specification, variant, _common_file(specification, notes))
                    runs[seed] = Run(label, variant["method"], steps, evaluations, settings=settings)
            variants.append(Variant(name, variant["method"], variant["settings"], runs, figures))
            notes += [f"{name}, seed {one['seed']} failed: {one['error']}" for one in figures.get("failed", [])]
        methods = list(dict.fromkeys(variant.method for variant in variants))
        variants.sort(key=lambda one: (methods.index(one.method), [_order(value) for value in one.settings.values()]))
        unfinished = [variant.name for variant in variants if summary and "curve" not in variant.figures]
        if unfinished:
            notes.append(f"No results yet, because no run has finished: {', '.join(unfinished)}.")
        return Comparison(
            specification["model"],
            specification["task"],
            specification["command"],
            seeds,
            variants,
            int(summary.get("held_out_problems", 0)),
            notes,
            specification.get(PROVENANCE),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{folder / SPECIFICATION} is not what sfpo compare writes ({type(error).__name__}: {error})"
        ) from error


def _common_file(specification: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The configuration file that a comparison used for all its runs."""
    try:
        return config_of(specification["train"])
    except UsageError as error:
        if (note := f"{error}: the report assumes the defaults for its settings.") not in notes:
            notes.append(note)
        return {}


def _recorded_runs(folder: Path) -> dict[tuple[str, int], tuple[list[Row], list[Row]]]:
    """Steps and evaluations by variant and seed from a comparison's own files, for runs whose folders are missing."""
    runs: dict[tuple[str, int], tuple[list[Row], list[Row]]] = {}
    if not ((folder / STEPS).is_file() and (folder / EVALUATIONS).is_file()):
        return runs
    try:
        for index, rows in enumerate((read_steps(folder), read_evaluations(folder))):
            for row in rows:
                own = runs.setdefault((row["variant"], int(row["seed"])), ([], []))
                own[index].append(row | {"step": int(row["step"])})
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"{STEPS} or {EVALUATIONS} of {folder} is broken ({error}): run sfpo compare again"
        ) from error
    return runs


def _order(value: str) -> tuple[float, str]:
    """Sort key that puts numbers first, by size, and other settings after them."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON ({error}): was it edited, or only partly written?") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} does not hold a JSON object")
    return value
