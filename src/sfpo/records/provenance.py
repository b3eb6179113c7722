"""The provenance of a record: the code, the versions of its dependencies, the machine and the time.

A record keeps a list of entries, oldest first, and starts with one. When a comparison, a run or an evaluation is continued or
extended, its entries stay; a new one is appended if it differs from each of them in more than its time. So the first entry
describes how the record began, and the time of every entry says when it first took part. If a record began before records had
entries, its list begins with an empty one.

No entry names a host, a user or a path.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sfpo.json_object import flaw

PROVENANCE = "provenance"
"""The key under which a record keeps its entries."""

Entry = dict[str, Any]

_PACKAGE = Path(__file__).resolve().parents[1]
_VERSIONED = (
    "sfpo", "torch", "transformers", "trl", "accelerate", "verl", "datasets", "peft", "reasoning-gym", "math-verify", "numpy",
)  # fmt: skip


def provenance(*scripts: Path) -> Entry:
    """The entry for this process: `time` (ISO 8601, UTC), `commit`, `versions` by package, and `machine`.

    `machine` has the processor's name, the cores that this process may use, the memory in GiB and the accelerators. These are
    None if torch sees none or is not imported. Packages that are not installed are omitted.

    Args:
        scripts: folders outside the package whose uncommitted changes count too.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(_PACKAGE, *scripts),
        "versions": _versions(),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": _memory_gib(),
            "accelerator": _accelerator(),
        },
    }


def extended(known: Sequence[Entry], now: Entry) -> list[Entry]:
    """The known entries of a record, and `now` if it differs from each of them in more than its time."""
    return list(known) if any(_timeless(entry) == _timeless(now) for entry in known) else [*known, now]


def entries_of(record: dict[str, Any]) -> list[Entry]:
    """The entries of a record to extend; a single empty one if it has none that can be read, as before records had them."""
    entries: Any = record.get(PROVENANCE)
    return [{}] if flaw(entries, [dict]) is not None else list(entries)


def commit(package: Path, *others: Path) -> str | None:
    """The commit of the checkout that holds `package`, with "+dirty" if a file in these folders differs from it.

    None if git is missing or does not track the folder. An installed wheel is such a folder, even if its environment lies in
    a checkout of another project.
    """
    if not _git(package, "ls-files", "--", "."):
        return None
    head = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", *map(str, (package, *others)))
    if head is None or changes is None:
        return None
    return f"{head}+dirty" if changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git in a folder; None if git fails."""
    try:
        # Otherwise `status` would lock the index, which another git process may need.
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # not a system that says
        return None


def _accelerator() -> str | None:
    """The number and name of the accelerators that torch sees. Does not import torch, since some records need none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.accelerator.is_available():
        return None
    kind = torch.accelerator.current_accelerator().type
    named = getattr(torch.get_device_module(kind), "get_device_name", None)
    return f"{torch.accelerator.device_count()} x {named(0) if named else kind}"


def _timeless(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name != "time"}
