"""How a run or a comparison was made, and how to repeat it."""

import shlex
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sfpo.records.run import CONFIG
from sfpo.report.folder import Comparison, Run


@dataclass(frozen=True)
class Setup:
    """Commands with their titles, and facts as names and values."""

    commands: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    versions: list[tuple[str, str]]


def setup_of_run(run: Run) -> Setup:
    """The setup from the run's configuration file, which holds all settings that differ from the defaults."""
    again = f"sfpo train --config {CONFIG} --output_dir again"
    return Setup([*_install(run), ("Repeat the run, from its folder", again)], _facts(run), _versions(run))


def setup_of_comparison(comparison: Comparison) -> Setup:
    """The setup from the command that made the comparison."""
    runs = [run for variant in comparison.variants for run in variant.runs.values()]
    described = next((run for run in runs if run.facts), Run("", ""))
    done = sum(len(variant.figures.get("seeds_done", [])) for variant in comparison.variants)
    planned = len(comparison.variants) * len(comparison.seeds)
    facts = [
        ("model", comparison.model),
        ("task", comparison.task),
        ("seeds", ", ".join(map(str, comparison.seeds))),
        *[(name, ", ".join(map(str, values))) for name, values in comparison.varied.items()],
        ("runs finished", f"{done} of {planned}"),
        *_facts(described),
    ]
    command = shlex.join(map(str, comparison.command))
    return Setup(
        [*_install(described), ("Repeat the comparison (its last command, if it was added to)", command)],
        facts,
        _versions(described),
    )


def _install(run: Run) -> list[tuple[str, str]]:
    versions = {name: version for name, version in _versions(run) if name != "python"}
    if not versions:
        return []
    # Suffixes such as "+cpu" name builds that a package index may not have.
    pins = [f"{name}=={version.partition('+')[0]}" for name, version in versions.items() if name != "sfpo"]
    package = f"sfpo[trl]=={versions['sfpo']}" if "sfpo" in versions else "sfpo[trl]"
    return [("Install the same versions", f"pip install {shlex.join([package, *pins])}")]


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = []
    if isinstance(started := run.facts.get("started"), int | float):
        facts.append(("started", datetime.fromtimestamp(started, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")))
    if isinstance(weights := run.facts.get("weights"), int):
        facts.append(("weights", f"{weights:,}"))
    if machine := run.facts.get("machine"):
        facts.append(("machine", str(machine)))
    return facts


def _versions(run: Run) -> list[tuple[str, str]]:
    versions: Any = run.facts.get("versions", {})
    return [(str(name), str(version)) for name, version in versions.items()] if isinstance(versions, dict) else []
