"""Code that the benchmarks share: workers that take turns, facts about the machine, tables, goals and files.

A benchmark is a parent that measures nothing itself. It starts a worker process per variant (the same script with
`--worker`), asks one of them at a time for one piece of work, A B C A B C, and takes the median over the rounds. So each
variant has its own process with its own settings, only one of them runs at a time, and other work on the machine affects
all of them equally.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sfpo.model import cpu
from sfpo.model.embedded import EMBEDDED
from sfpo.records.provenance import PROVENANCE, Entry, provenance

ROOT = Path(__file__).resolve().parents[1]
CONSOLE = Console(highlight=False, soft_wrap=True)
if not CONSOLE.is_terminal:
    CONSOLE.width = 200  # a file has no edge to wrap at

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": cpu.SPINS}
"""The thread settings that `sfpo train` chooses."""


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--rounds", type=int, default=rounds, help=f"measured rounds, after one of warm-up ({rounds})"
    )
    options.add_argument("--quick", action="store_true", help="a smoke run of tiny settings, written to runs/quick/")
    options.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return options


# ---- The parent's side --------------------------------------------------------------------------------------------


class WorkerError(RuntimeError):
    """A worker ended without an answer; the message is the end of its stderr."""


class Worker:
    """This script in another process, with `settings` as its `--worker`.

    Args:
        stock: let threads wait by torch's defaults instead of the settings of `sfpo train`.
    """

    def __init__(self, settings: dict[str, Any], *, stock: bool = False) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], "--worker", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=os.environ | _ENVIRONMENT | ({} if stock else _THREADS),
            text=True,
        )
        self.facts = self._read()
        """The facts that the worker reported about itself when it was ready."""

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # why it died is read below
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._stderr.seek(0)
            raise WorkerError(self._stderr.read().decode(errors="replace")[-3000:])
        answer: dict[str, Any] = json.loads(line)
        return answer


def in_bf16(model: str) -> bool:
    """Whether `sfpo train` would choose bf16 for the model on this CPU."""
    from sfpo.model.cpu import bf16_is_faster

    return model != EMBEDDED and bf16_is_faster()


def made_by() -> dict[str, list[Entry]]:
    """The provenance of a record, under the key that `sfpo`'s records use; changes to the benchmarks count too."""
    # Import torch for the accelerator's name, because the parent may not have needed it so far.
    import torch  # noqa: F401

    return {PROVENANCE: [provenance(ROOT / "benchmarks")]}


def machine() -> dict[str, Any]:
    """Further facts that readers need to compare the seconds with their own."""
    cpu_info = Path("/proc/cpuinfo")
    flags: set[str] = set()
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "flags":
                flags = set(value.split())
    return {
        "matrix_instructions": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}),
        "load_average_at_start": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
    }


def spread(samples: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and the samples themselves."""
    return {"median": median(samples), "min": min(samples), "max": max(samples), "samples": list(samples)}


def shown(summary: dict[str, Any], digits: int = 2) -> str:
    """A `spread` in a table's cell."""
    return f"{summary['median']:.{digits}f} [dim]({summary['min']:.{digits}f}-{summary['max']:.{digits}f})[/]"


@dataclass(frozen=True)
class Goal:
    """A goal: `value` should be at most (or at least) `bound`; None if it could not be measured."""

    name: str
    value: float | None
    bound: float
    at_most: bool = True
    unit: str = "x"

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "at_most" if self.at_most else "at_least": self.bound} | {
            "reached": self.reached
        }


def print_goals(goals: Sequence[Goal]) -> None:
    table = Table(title="Goals", title_justify="left")
    for column in ("goal", "bound", "measured", ""):
        table.add_column(column, justify="left" if column in ("goal", "") else "right")
    words = {True: "[green]reached[/]", False: "[red]not reached[/]", None: "[yellow]not measured[/]"}
    for goal in goals:
        measured = "-" if goal.value is None else f"{goal.value:.3g}{goal.unit}"
        bound = f"{'≤' if goal.at_most else '≥'} {goal.bound:g}{goal.unit}"
        table.add_row(escape(goal.name), bound, measured, words[goal.reached])
    CONSOLE.print(table)


def folder(quick: bool) -> Path:
    """The folder for results; a smoke run must not overwrite measurements."""
    return ROOT / "runs" / "quick" if quick else ROOT / "results" / "speed"


def save(name: str, quick: bool, settings: dict[str, Any], goals: Sequence[Goal], **results: Any) -> None:
    path = folder(quick) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": name,
        **made_by(),
        "settings": settings,
        "machine": machine(),
        "goals": [goal.as_json() for goal in goals],
        **results,
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    CONSOLE.print(f"Written to {path.relative_to(ROOT)}", style="dim")


def model_name(model: str) -> str:
    """The name of a model in results, without the path of its file."""
    return Path(model).stem if model.endswith(".gguf") else Path(model).name


# ---- The worker's side --------------------------------------------------------------------------------------------


class Requests:
    """The parent's requests, one per line. All other output goes to stderr."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def next(self) -> dict[str, Any] | None:
        """The next request, or None when there are no more."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def answer(self, **values: Any) -> None:
        self._answers.write(json.dumps(values) + "\n")
        self._answers.flush()
