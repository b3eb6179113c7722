"""How a run or a comparison was made, and how to repeat it."""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sfpo.records.provenance import PROVENANCE, Entry
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
    entries = _entries(run.facts)
    return Setup(
        [*_install(entries), ("Repeat the run, from its folder", again)],
        [*_facts(run), *_made_by(entries)],
        _versions(entries),
    )


def setup_of_comparison(comparison: Comparison) -> Setup:
    """The setup from the command that made the comparison."""
    runs = [run for variant in comparison.variants for run in variant.runs.values()]
    described = next((run for run in runs if run.facts), Run("", ""))
    entries = _entries({PROVENANCE: comparison.provenance} if comparison.provenance else described.facts)
    done = sum(len(variant.figures.get("seeds_done", [])) for variant in comparison.variants)
    planned = len(comparison.variants) * len(comparison.seeds)
    facts = [
        ("model", comparison.model),
        ("task", comparison.task),
        ("seeds", ", ".join(map(str, comparison.seeds))),
        *[(name, ", ".join(map(str, values))) for name, values in comparison.varied.items()],
        ("runs finished", f"{done} of {planned}"),
        *_facts(described),
        *_made_by(entries),
    ]
    command = shlex.join(map(str, comparison.command))
    return Setup(
        [*_install(entries), ("Repeat the comparison (its last command, if it was added to)", command)],
        facts,
        _versions(entries),
    )


def _install(entries: list[Entry]) -> list[tuple[str, str]]:
    versions = {name: version for name, version in _versions(entries) if name != "python"}
    if not versions:
        return []
    # Suffixes such as "+cpu" name builds that a package index may not have.
    pins = [f"{name}=={version.partition('+')[0]}" for name, version in versions.items() if name != "sfpo"]
    package = f"sfpo[trl]=={versions['sfpo']}" if "sfpo" in versions else "sfpo[trl]"
    return [("Install the same versions", f"pip install {shlex.join([package, *pins])}")]


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = []
    if isinstance(started := run.facts.get("started"), int | float):
        facts.append(("started", datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d %H:%M UTC")))
    if isinstance(weights := run.facts.get("weights"), int):
        facts.append(("weights", f"{weights:,}"))
    if machine := run.facts.get("machine"):
        facts.append(("machine", str(machine)))
    return facts


def _made_by(entries: list[Entry]) -> list[tuple[str, str]]:
    """The code and the machine that began the run or comparison, and how often others continued it."""
    facts = []
    first: Entry = entries[0] if entries else {}
    if commit := first.get("commit"):
        facts.append(("commit", str(commit)))
    if isinstance(machine := first.get("machine"), dict):
        cores, memory = machine.get("cores"), machine.get("memory_gib")
        facts.append(("processor", f"{machine.get('processor')}, {cores} cores, {memory} GiB"))
        if accelerator := machine.get("accelerator"):
            facts.append(("accelerator", str(accelerator)))
    if len(entries) > 1:
        facts.append(("continued with other code, versions or machine", f"{len(entries) - 1}×"))
    return facts


def _versions(entries: list[Entry]) -> list[tuple[str, str]]:
    versions: Any = entries[0].get("versions") if entries else None
    return [(str(name), str(version)) for name, version in versions.items()] if isinstance(versions, dict) else []


def _entries(record: dict[str, Any]) -> list[Entry]:
    """The provenance of a record, oldest entry first. A run made before records had entries has only its versions."""
    entries = record.get(PROVENANCE) or [{"versions": record.get("versions")}]
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
