"""`sfpo doctor`, from checks to plain lines and an exit code."""

import json
import platform
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sfpo import __version__
from sfpo.doctor.finding import Finding
from sfpo.doctor.machine import check_folder, check_grading, check_hub
from sfpo.doctor.packages import check_packages
from sfpo.doctor.torch_check import check_torch, probe
from sfpo.errors import one_line
from sfpo.options import Parser
from sfpo.records.provenance import Entry, provenance

_WIDTH = len("doubtful") + 2


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo doctor`; returns the exit code: 1 where something is broken that is required.

    Raises:
        UsageError: an unknown option.
    """
    as_json: bool = parser().parse_args(arguments).json
    found = probe()
    entry: Entry = provenance() if isinstance(found, Finding) else found["provenance"]
    if not as_json:
        print(f"{_machine(entry)}\n")
    findings = []
    for finding in _all(found):
        findings.append(finding)
        if not as_json:
            _print(finding)
    broken = sum(finding.status == "broken" for finding in findings)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings], "provenance": [entry]}, indent=2))
    else:
        print(f"\n{broken} broken, as listed above." if broken else "\nNothing that is required is broken.")
    return int(broken > 0)


def parser() -> Parser:
    """The parser of the command's options."""
    made = Parser(
        prog="sfpo doctor",
        description="Check this installation and this machine, in a few seconds: what works, what is absent or broken, and "
        "the command that mends it. The exit code is 1 where something is broken that is required.",
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print JSON, with versions and machine, to keep or to send")
    return made


def _all(found: dict[str, Any] | Finding) -> Iterator[Finding]:
    if isinstance(found, Finding):
        yield found
    else:
        yield from check_torch(found)
    for check in (check_packages, check_grading, check_folder, check_hub):
        yield from check()


def _machine(entry: Entry) -> str:
    machine = entry["machine"]
    memory = "" if machine["memory_gib"] is None else f", {machine['memory_gib']} GiB of memory"
    return (
        f"sfpo {__version__}, Python {platform.python_version()}, {platform.system()}\n"
        f"{machine['processor']}, {machine['cores']} cores{memory}"
    )


def _print(finding: Finding) -> None:
    """At the terminal's width, but a command in one line, to copy."""
    indent = " " * _WIDTH
    said = one_line(f"{finding.status:{_WIDTH}}{finding.what}")
    width = max(40, shutil.get_terminal_size().columns)
    print(textwrap.fill(said, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
    if finding.mend:
        print(one_line(f"{indent}mend: {finding.mend}"))
