"""A comparison that has lost its `comparison.json`: its runs say whether they are those that are asked for."""

from pathlib import Path

from sfpo.comparison.schedule import Job
from sfpo.errors import UsageError
from sfpo.records.run import CONFIG, finished_after, read_configuration
from sfpo.records.summary import SPECIFICATION
from sfpo.training.options import parse
from sfpo.training.resume import differences


def has_runs_of(folder: Path, jobs: list[Job]) -> bool:
    """Whether a folder without `comparison.json` holds runs of the comparison that these jobs make.

    Raises:
        UsageError: it holds something else, or runs that are not among the jobs or were made with other settings.
    """
    asked = {job.folder: job for job in jobs}
    runs = sorted(run for run in folder.glob("runs/**/seed-*") if run.is_dir())
    # Hidden files are our lock, and what a comparison left that was killed while it wrote its first.
    if not runs and folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UsageError(f"{folder} holds something else than a comparison: choose another --output_dir")
    for run in runs:
        lost = f"{folder} has lost {SPECIFICATION}, and {run}"
        if run not in asked:
            raise UsageError(
                f"{lost} is none of the runs that are asked for: give the methods, sweeps and seeds of all runs that are "
                "there, or choose another --output_dir"
            )
        before = read_configuration(run)
        if not before and finished_after(run) is not None:
            raise UsageError(f"{lost} has no {CONFIG} that says how it was made: delete that run to make it again")
        if different := differences(before, parse(asked[run].arguments)):
            raise UsageError(
                f"{lost} was made with other settings ({different}): repeat those, or choose another --output_dir"
            )
    return bool(runs)
