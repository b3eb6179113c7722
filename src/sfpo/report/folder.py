"""Read the folder of a run or a comparison as plain data, of which every value is of the kind that is expected of it."""

import math
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.options import split_config
from sfpo.records.comparison import EVALUATIONS, KEYS_OF_STEPS, STEPS, run_folder
from sfpo.records.provenance import PROVENANCE
from sfpo.records.rows import Row
from sfpo.records.run import COMPLETIONS, CONFIG, METRICS, RUN, spent
from sfpo.records.settings import settings_of_run, settings_of_variant
from sfpo.records.summary import SPECIFICATION, SUMMARY
from sfpo.report.summarised import figures_of
from sfpo.report.untrusted import MalformedError, Untrusted, is_number, list_of, mapping, name, number, text, whole
from sfpo.report.wording import counted

# More than any comparison has whose page can be read.
_MOST_VARIANTS, _MOST_SEEDS, _MOST_RUNS = 100, 100, 400
_MOST_WORDS, _MOST_SETTINGS, _MOST_KEYS = 500, 50, 500
_LONGEST_NUMBER = 40


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
    """Remarks for the reader."""
    left_out: list[str] = field(default_factory=list)
    """What could not be read, a line each."""

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

    @property
    def title(self) -> str:
        """The name with a space where a line may break."""
        return self.name.replace(",", ", ")


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
    left_out: list[str] = field(default_factory=list)
    """What could not be read, a line each."""

    @property
    def varied(self) -> dict[str, list[str]]:
        """Settings that differ between the variants, with all their values, including those of variants added later."""
        values: dict[str, list[str]] = {}
        for variant in self.variants:
            for setting, value in variant.settings.items():
                if value not in values.setdefault(setting, []):
                    values[setting].append(value)
        return values


def read_folder(folder: Path) -> Run | Comparison:
    """The run or the comparison in `folder`. What cannot be read of it is left out, which `left_out` tells.

    Raises:
        UsageError: `folder` is not a folder, or holds neither a run nor a comparison that can be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give the --output_dir of sfpo train or sfpo compare")
    files = Untrusted(folder)
    if files.has(SPECIFICATION):
        return _Comparing(folder, files).read()
    if files.has(METRICS):
        return _read_run(files, "", name(folder.resolve().name))
    told = "".join(f"; {line.rstrip('.')}" for line in files.left_out)
    raise UsageError(
        f"{folder} holds neither a run ({METRICS}) nor a comparison ({SPECIFICATION}){told}: give the --output_dir of sfpo "
        "train or sfpo compare"
    )


def column(rows: list[Row], key: str) -> list[float | None]:
    """One value per row; None if it is missing or not a finite number."""
    return [
        float(value) if isinstance(value := row.get(key), int | float) and math.isfinite(value) else None
        for row in rows
    ]


def _read_run(files: Untrusted, place: str, label: str) -> Run:
    """The run whose files have names that begin with `place`, finished or not."""
    configuration, settings = files.configuration(place + CONFIG)
    facts = files.object(place + RUN) or {}
    kinds: dict[str, list[Row]] = {"train": [], "evaluation": [], "benchmark": [], "summary": []}
    unusable = 0
    for row in files.rows(place + METRICS):
        try:
            kinds.get(str(row.get("kind")), []).append(_logged(row))
        except MalformedError:
            unusable += 1
    if unusable:
        files.leave_out(place + METRICS, f"has {counted(unusable, 'row')} without a step, which were left out")
    unfinished = "This run has not finished: the report shows the steps that it has recorded."
    return Run(
        label,
        name(settings.get("method", "run")),
        kinds["train"],
        kinds["evaluation"],
        kinds["benchmark"],
        [_completion(row) for row in files.rows(place + COMPLETIONS)],
        text(configuration),
        settings_of_run(settings),
        facts,
        [] if "finished" in facts or kinds["summary"] else [unfinished],
        files.left_out,
    )


def _logged(row: dict[str, Any]) -> Row:
    """What a row of metrics says in numbers, and the name of its benchmark."""
    kept: Row = {key: value for key, value in islice(row.items(), _MOST_KEYS) if is_number(value)}
    if "benchmark" in row:
        kept["benchmark"] = name(row["benchmark"])
    return kept | {"step": whole(row.get("step"))}


def _completion(row: dict[str, Any]) -> Row:
    kept: Row = {key: text(row.get(key)) for key in ("prompt", "completion", "answer")}
    for key, read in (("step", whole), ("reward", number)):
        with suppress(MalformedError):
            kept[key] = read(row.get(key))
    if isinstance(row.get("cut_off"), bool):
        kept["cut_off"] = row["cut_off"]
    return kept


class _Comparing:
    """Reads a comparison: its own files, and those of its runs."""

    def __init__(self, folder: Path, files: Untrusted) -> None:
        self._folder = folder
        self._files = files
        self._specification = files.object(SPECIFICATION)
        self._notes: list[str] = []
        self._recorded: dict[tuple[str, int], tuple[list[Row], list[Row]]] = {}

    def read(self) -> Comparison:
        """The comparison.

        Raises:
            UsageError: `comparison.json` is not what `sfpo compare` writes.
        """
        if self._specification is None:
            raise UsageError(f"{self._folder}: {self._files.left_out[0].rstrip('.')}")
        try:
            return self._read(self._specification)
        except MalformedError as error:
            raise UsageError(f"{self._folder / SPECIFICATION} is not what sfpo compare writes: {error}") from error

    def _read(self, said: dict[str, Any]) -> Comparison:
        seeds = list(dict.fromkeys(list_of(whole, said.get("seeds"), _MOST_SEEDS)))
        train = list_of(name, said.get("train", []), _MOST_WORDS)
        common = {
            "model": name(said.get("model")),
            "task": name(said.get("task")),
            "train": train,
        }
        configuration = self._common_file(said, train)
        summary = self._files.object(SUMMARY)
        if summary is None:
            self._notes.append(
                "There is no summary yet: repeat the same sfpo compare command to finish the comparison."
            )
        of_variants = (summary or {}).get("variants")
        self._read_recorded()
        variants: dict[str, Variant] = {}
        runs_left = _MOST_RUNS
        for entry in list_of(mapping, said.get("variants"), _MOST_VARIANTS):
            try:
                own = _variant(entry)
            except MalformedError as error:
                self._files.leave_out(SPECIFICATION, f"has a variant that cannot be read ({error})")
                continue
            if own["name"] in variants:
                self._files.leave_out(SPECIFICATION, f"has two variants with the name {own['name']}")
                continue
            settings = settings_of_variant(common, own, configuration)
            if runs_left < len(seeds):
                self._files.leave_out(SPECIFICATION, f"has more runs than the {_MOST_RUNS:,} that were read")
            runs = {}
            for seed in seeds[:runs_left]:
                if (run := self._run(own, seed, settings)) is not None:
                    runs[seed] = run
            runs_left -= len(runs)
            figures = self._figures(own["folder"], of_variants)
            variants[own["name"]] = Variant(own["name"], own["method"], own["settings"], runs, figures)
        return self._ordered(said, common, seeds, list(variants.values()), summary)

    def _ordered(
        self,
        said: dict[str, Any],
        common: dict[str, Any],
        seeds: list[int],
        variants: list[Variant],
        summary: dict[str, Any] | None,
    ) -> Comparison:
        methods = list(dict.fromkeys(variant.method for variant in variants))
        variants.sort(key=lambda one: (methods.index(one.method), [_order(value) for value in one.settings.values()]))
        for variant in variants:
            failed = variant.figures.get("failed", [])
            self._notes += [f"{variant.name}, seed {one['seed']} failed: {one['error']}" for one in failed]
        unfinished = [variant.name for variant in variants if summary and "curve" not in variant.figures]
        if unfinished:
            self._notes.append(f"No results yet, because no run has finished: {', '.join(unfinished)}.")
        problems = (summary or {}).get("held_out_problems", 0)
        return Comparison(
            common["model"],
            common["task"],
            list_of(text, said.get("command", []), _MOST_WORDS),
            seeds,
            variants,
            problems if isinstance(problems, int) else 0,
            self._notes,
            said.get(PROVENANCE),
            self._files.left_out,
        )

    def _run(self, variant: dict[str, Any], seed: int, settings: dict[str, Any]) -> Run | None:
        """A run from its own folder, or from the comparison's records if it has none."""
        label = f"{variant['name']}, seed {seed}"
        place = f"{run_folder(Path(), variant['folder'], seed).as_posix()}/"
        if self._files.has(place + METRICS):
            return _read_run(self._files, place, label)
        if (variant["name"], seed) not in self._recorded:
            return None
        steps, evaluations = self._recorded[variant["name"], seed]
        return Run(label, variant["method"], steps, evaluations, settings=settings)

    def _common_file(self, said: dict[str, Any], train: list[str]) -> dict[str, Any]:
        """What the configuration file of all runs said, from the comparison's record of it.

        The file itself may be any file of this machine, so it is not read.
        """
        recorded = said.get("configuration")
        if isinstance(recorded, dict):
            return {name(key): value for key, value in recorded.items() if isinstance(value, str | int | float)}
        if split_config(train)[0] is not None:
            self._notes.append("What the file of --config said is not recorded: the report assumes the defaults.")
        return {}

    def _figures(self, variant: str, of_variants: Any) -> dict[str, Any]:
        said = of_variants.get(variant) if isinstance(of_variants, dict) else None
        if said is None:
            return {}
        try:
            return figures_of(said)
        except MalformedError as error:
            self._files.leave_out(SUMMARY, f"does not say of {name(variant)} what sfpo compare writes ({error})")
            return {}

    def _read_recorded(self) -> None:
        """Steps and evaluations by variant and seed from the comparison's own files, for runs whose folders are missing."""
        for index, (file, keys) in enumerate(((STEPS, KEYS_OF_STEPS), (EVALUATIONS, {}))):
            unusable = 0
            for row in self._files.table(file):
                try:
                    own = {
                        keys.get(key, key): _number_in(cell) for key, cell in row.items() if cell and key != "variant"
                    }
                    place = name(row["variant"]), whole(own.get("seed"))
                    entry = own | {"step": whole(own.get("step"))}
                except (MalformedError, KeyError):
                    unusable += 1
                    continue
                self._recorded.setdefault(place, ([], []))[index].append(entry)
            if unusable:
                self._files.leave_out(file, f"has {counted(unusable, 'row')} that cannot be read")


def _variant(entry: dict[str, Any]) -> dict[str, Any]:
    """A variant's entry in `comparison.json`; its folder has the name as it is written."""
    folder = entry.get("name")
    if not isinstance(folder, str) or not folder:
        raise MalformedError("it has no name")
    settings = {
        name(key): name(value) for key, value in islice(mapping(entry.get("settings")).items(), _MOST_SETTINGS)
    }
    return {"name": name(folder), "folder": folder, "method": name(entry.get("method")), "settings": settings}


def _number_in(cell: str) -> int | float:
    try:
        return number(float(cell[:_LONGEST_NUMBER]))
    except ValueError as error:
        raise MalformedError("a number is missing") from error


def _order(value: str) -> tuple[float, str]:
    """Sort key that puts numbers first, by size, and other settings after them."""
    try:
        found = float(value)
    except ValueError:
        found = math.inf
    return (found, "") if math.isfinite(found) else (math.inf, value)
