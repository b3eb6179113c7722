"""The whole content of a page as plain data, which `page.js` lays out."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from sfpo.model.label import model_label
from sfpo.report import run_figures
from sfpo.report.colors import Color
from sfpo.report.comparison_figures import ComparisonFigures
from sfpo.report.completions import Completions, completions_of
from sfpo.report.figure import Figure
from sfpo.report.folder import Comparison, Run, Variant
from sfpo.report.gate import what_happened
from sfpo.report.headline import (
    Card,
    Table,
    cards_of_comparison,
    cards_of_run,
    gate_tables_of_comparison,
    tables_of_comparison,
    tables_of_run,
)
from sfpo.report.run_figures import passes_of
from sfpo.report.setup import Setup, setup_of_comparison, setup_of_run
from sfpo.report.wording import counted

# These limits keep a page about many long runs at a few megabytes.
_STEPS_PER_RUN = 400
_STEPS_OF_ALL_RUNS = 8_000
_CHARACTERS_OF_COMPLETIONS = 1_500_000


@dataclass(frozen=True)
class Legend:
    """The look of a variant's lines; `label` distinguishes it from other variants of its method."""

    name: str
    method: str
    label: str
    color: Color
    dash: tuple[int, ...]


@dataclass(frozen=True)
class RunDetails:
    """The parts of the page about the run that the reader has chosen."""

    name: str
    method: str
    gate_sentence: str
    gate: list[Figure]
    passes_sentence: str
    passes: list[Figure]
    completions: Completions
    configuration: str


@dataclass(frozen=True)
class Content:
    """One report, with figures of all runs together and of each run."""

    kind: str
    title: str
    facts: list[str]
    notes: list[str]
    left_out: list[str]
    """What could not be read."""
    cards: list[Card]
    tables: list[Table]
    results: list[Figure]
    training: list[Figure]
    gate: list[Figure]
    gate_tables: list[Table]
    passes: list[Figure]
    setup: Setup
    runs: list[RunDetails]
    legend: list[Legend] = field(default_factory=list)


def content_of(shown: Run | Comparison) -> Content:
    """The content for a run or a comparison."""
    return _of_run(shown) if isinstance(shown, Run) else _of_comparison(shown)


def _of_run(run: Run) -> Content:
    named = [str(run.settings[key]) for key in ("method", "task") if key in run.settings]
    if "model" in run.settings:
        named.append(model_label(str(run.settings["model"])))
    facts = [f"seed {run.settings['seed']}"] if "seed" in run.settings else []
    return Content(
        kind="run",
        title=" · ".join(named) or run.name,
        facts=[run.name, *facts],
        notes=run.notes + _thinning([run], _STEPS_PER_RUN),
        left_out=run.left_out,
        cards=cards_of_run(run),
        tables=tables_of_run(run),
        results=run_figures.results(run, _STEPS_PER_RUN),
        training=run_figures.training(run, _STEPS_PER_RUN),
        gate=[],
        gate_tables=[],
        passes=[],
        setup=setup_of_run(run),
        runs=[_details(run, _STEPS_PER_RUN, _CHARACTERS_OF_COMPLETIONS)],
    )


def _of_comparison(comparison: Comparison) -> Content:
    runs = [run for variant in comparison.variants for run in variant.runs.values()]
    most = max(40, min(_STEPS_PER_RUN, _STEPS_OF_ALL_RUNS // max(1, len(runs))))
    figures = ComparisonFigures(comparison, most)
    colors = {name: color for name, (color, _) in figures.looks.items()}
    characters = _CHARACTERS_OF_COMPLETIONS // max(1, len(runs))
    facts = [counted(len(comparison.variants), "variant"), counted(len(comparison.seeds), "seed")]
    if comparison.held_out_problems:
        facts.append(f"{comparison.held_out_problems:,} held-out problems")
    return Content(
        kind="comparison",
        title=f"{comparison.task} · {model_label(comparison.model)}",
        facts=facts,
        notes=comparison.notes + _thinning(runs, most),
        left_out=comparison.left_out,
        cards=cards_of_comparison(comparison, colors),
        tables=tables_of_comparison(comparison, colors),
        results=figures.results(comparison.held_out_problems),
        training=figures.training(),
        gate=figures.gate(),
        gate_tables=gate_tables_of_comparison(comparison),
        passes=figures.passes(),
        setup=setup_of_comparison(comparison),
        runs=[_details(run, most, characters) for run in runs],
        legend=[
            Legend(variant.title, variant.method, _label(variant, comparison), *figures.looks[variant.name])
            for variant in comparison.variants
        ],
    )


def as_data(content: Content) -> Any:
    """Content as JSON can hold it: dictionaries for dataclasses, numbers with six digits, None for non-finite values."""
    return _short(asdict(content))


def _details(run: Run, most: int, characters: int) -> RunDetails:
    return RunDetails(
        name=run.name,
        method=run.method,
        gate_sentence=what_happened(run),
        gate=run_figures.gate(run, most),
        passes_sentence=_sentence_on_passes(run),
        passes=run_figures.passes(run, most),
        completions=completions_of(run, characters),
        configuration=run.configuration,
    )


def _sentence_on_passes(run: Run) -> str:
    count = passes_of(run)
    if count == 0:
        return "This run recorded nothing about its passes."
    slow = "; the last one is the slow correction" if run_figures.is_slow(run, count - 1) else ""
    passes = "One pass" if count == 1 else f"Up to {count} passes"
    pass_0 = "Pass 0 starts and stays at the sampling policy: its ratio is 1, its KL is 0, and it clips no tokens."
    if run_figures.moves_in_pass_0(run):
        pass_0 = "Pass 0 has several mini-batches; the later ones start at a distance from the sampling policy."
    return f"{passes} over each batch of rollouts{slow}. {pass_0}"


def _thinning(runs: list[Run], most: int) -> list[str]:
    longest = max((len(run.steps) for run in runs), default=0)
    return [f"Lines show {most:,} of up to {longest:,} logged steps, evenly spread."] if longest > most else []


def _label(variant: Variant, comparison: Comparison) -> str:
    if len(comparison.varied) == 1:
        return next(iter(variant.settings.values()), variant.method)
    return ", ".join(f"{name}={value}" for name, value in variant.settings.items()) or variant.method


def _short(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.6g}")
        return int(short) if short.is_integer() else short
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list | tuple) else value
