"""How a run or a comparison was made, and how to repeat it."""

import shlex
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sfpo.records.provenance import PROVENANCE, Entry
from sfpo.records.run import CONFIG
from sfpo.report.folder import Comparison, Run
from sfpo.report.untrusted import MalformedError, name, number, whole

_MOST_VERSIONS = 50


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
        *[(setting, ", ".join(values)) for setting, values in comparison.varied.items()],
        ("runs finished", f"{done} of {planned}"),
        *_facts(described),
        *_made_by(entries),
    ]
    command = shlex.join(comparison.command)
    return Setup(
        [*_install(entries), ("Repeat the comparison (its last command, if it was added to)", command)],
        facts,
        _versions(entries),
    )


def _install(entries: list[Entry]) -> list[tuple[str, str]]:
    versions = {package: version for package, version in _versions(entries) if package != "python"}
    if not versions:
        return []
    # Suffixes such as "+cpu" name builds that a package index may not have.
    pins = [f"{other}=={version.partition('+')[0]}" for other, version in versions.items() if other != "sfpo"]
    package = f"sfpo[trl]=={versions['sfpo']}" if "sfpo" in versions else "sfpo[trl]"
    return [("Install the same versions", f"pip install {shlex.join([package, *pins])}")]


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = []
    # A number of seconds may be no time of any calendar.
    with suppress(MalformedError, ValueError, OverflowError, OSError):
        started = datetime.fromtimestamp(number(run.facts.get("started")), UTC)
        facts.append(("started", started.strftime("%Y-%m-%d %H:%M UTC")))
    with suppress(MalformedError):
        facts.append(("weights", f"{whole(run.facts.get('weights')):,}"))
    if machine := run.facts.get("machine"):
        facts.append(("machine", name(machine)))
    return facts


def _made_by(entries: list[Entry]) -> list[tuple[str, str]]:
    """The code and the machine that began the run or comparison, and how often others continued it."""
    facts = []
    first: Entry = entries[0] if entries else {}
    if commit := first.get("commit"):
        facts.append(("commit", name(commit)))
    if isinstance(machine := first.get("machine"), dict):
        cores, memory = machine.get("cores"), machine.get("memory_gib")
        facts.append(("processor", name(f"{machine.get('processor')}, {cores} cores, {memory} GiB")))
        if accelerator := machine.get("accelerator"):
            facts.append(("accelerator", name(accelerator)))
    if len(entries) > 1:
        facts.append(("continued with other code, versions or machine", f"{len(entries) - 1}×"))
    return facts


def _versions(entries: list[Entry]) -> list[tuple[str, str]]:
    versions: Any = entries[0].get("versions") if entries else None
    if not isinstance(versions, dict):
        return []
    return [(name(package), name(version)) for package, version in islice(versions.items(), _MOST_VERSIONS)]


def _entries(record: dict[str, Any]) -> list[Entry]:
    """The provenance of a record, oldest entry first. A run made before records had entries has only its versions."""
    entries = record.get(PROVENANCE) or [{"versions": record.get("versions")}]
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
