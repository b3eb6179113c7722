"""Whether runs can be written here, answers graded, and models downloaded."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from sfpo.doctor.finding import Finding
from sfpo.errors import UsageError
from sfpo.grading import grade
from sfpo.model import hub

RUNS = Path("runs")
_GIB = 2**30
_LITTLE = 1.0
"""GiB below which a disk is nearly full for a run with checkpoints."""


def check_folder() -> Iterator[Finding]:
    """Whether a command can make its folder here, and hold it."""
    if find_spec("filelock") is None:
        return
    from sfpo.records.lock import FolderLock

    folder = RUNS / "doctor"
    while folder.exists():
        folder = folder.with_name(f"{folder.name}-")
    try:
        with FolderLock(folder, "sfpo doctor"):
            free = shutil.disk_usage(folder).free / _GIB
    except UsageError as error:
        yield Finding("broken", str(error), "work in another folder, or give each command an --output_dir elsewhere")
        return
    said = f"{RUNS.absolute()} can be written to; {free:.1f} GiB are free"
    if free < _LITTLE:
        yield Finding("doubtful", f"{said}, which a run with checkpoints soon fills", "df -h .")
    else:
        yield Finding("works", said)


def check_grading() -> Iterator[Finding]:
    """Whether a worker process judges a formula."""
    if find_spec("math_verify") is None:
        return
    try:
        verdict = grade("x^2+2x+1", r"\boxed{(x+1)^2}")
    except RuntimeError as error:
        yield Finding("broken", f"grading: {error}", "raise the limits of ulimit -u and -v; each worker needs 1 GiB")
        return
    if verdict.correct:
        yield Finding("works", "grading: a worker process judged a formula")
    else:
        yield Finding(
            "broken", f"grading: (x+1)^2 = x^2+2x+1 got the verdict '{verdict.status}'", "pip install 'sfpo[trl]'"
        )


def check_hub() -> Iterator[Finding]:
    """Whether the hub answers; without it, the models and data sets of its cache and local ones can be used."""
    if hub.is_offline():
        yield Finding("absent", f"the hub: {hub.OFFLINE} is set, so only its cache is used", f"unset {hub.OFFLINE}")
    elif hub.answers(hub.endpoint()):
        yield Finding("works", f"the hub: {hub.endpoint()} answers")
    else:
        yield Finding(
            "absent",
            f"the hub: {hub.endpoint()} does not answer, so only its cache is used",
            "set https_proxy, or HF_ENDPOINT for a mirror; the model of the package needs no hub",
        )
