"""What an output folder holds of a run, and how `sfpo train` goes on from it."""

from dataclasses import dataclass, field
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sfpo.checkpoints import TRAINER_STATE, UNFINISHED, checkpoints_in, missing_part, newest_complete, step_of
from sfpo.disk import refuse_all_but_files
from sfpo.errors import UsageError
from sfpo.records.run import METRICS, RUN_FILES, finished_after, missing_model, read_configuration

if TYPE_CHECKING:  # at run time it would bring in torch, and this is asked before
    from sfpo.training.options import Parsed


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Args:
        checkpoint: what it continues from; None if it begins.
        nothing_left: its folder holds a finished run, which kept no checkpoint and needs none.
        notes: what the user should know of what was found.
    """

    checkpoint: Path | None = None
    nothing_left: bool = False
    notes: list[str] = field(default_factory=list)


def start_of(parsed: "Parsed") -> Start:
    """What a run starts from.

    Raises:
        UsageError: see `start_in`; or the folder holds the beginning of a run with other settings.
    """
    training = parsed.training
    folder = Path(training.output_dir)
    start = start_in(folder, training.resume_from_checkpoint, training.max_steps)
    if start.checkpoint is not None or start.nothing_left or not (folder / METRICS).exists():
        return start
    if different := differences(read_configuration(folder), parsed):
        raise UsageError(
            f"{folder} holds the beginning of a run with other settings ({different}), which was stopped before its first "
            "checkpoint: repeat those to start it again, or choose another --output_dir"
        )
    return Start(notes=[f"Starting again: the run in {folder} was stopped before its first checkpoint."])


def start_in(folder: Path, wanted: str | bool | None, max_steps: int) -> Start:
    """Look into the output folder for what a run can start from.

    Args:
        wanted: what `--resume_from_checkpoint` says.

    Raises:
        UsageError: the folder holds what the run would overwrite, or not what it is to continue from.
    """
    refuse_all_but_files(folder, RUN_FILES)
    if (folder / UNFINISHED).exists() and not (folder / UNFINISHED).is_dir():
        raise UsageError(f"{folder / UNFINISHED}, where checkpoints are written, is no folder: move it away")
    if wanted is None or str(wanted).lower() == "false":
        return _begin(folder)
    if str(wanted).lower() in ("last", "true"):
        return _last(folder, max_steps)
    checkpoint = Path(str(wanted))  # a configuration may hold a number
    if not isfile(checkpoint / TRAINER_STATE):  # unlike Path.is_file, also of names that are too long
        raise UsageError(f"{wanted} is not a checkpoint: give its folder, or 'last'")
    if (missing := missing_part(checkpoint)) is not None:
        raise UsageError(f"{wanted} lacks {missing}: give another checkpoint, or 'last' for the newest complete one")
    return Start(checkpoint)


def drop_checkpoints_after(folder: Path, step: int) -> None:
    """Drop what a run would otherwise be continued from although its records have been taken back to `step`."""
    for checkpoint in checkpoints_in(folder):
        if step_of(checkpoint) > step:
            (folder / UNFINISHED).mkdir(exist_ok=True)
            checkpoint.rename(folder / UNFINISHED / f"deleted-{checkpoint.name}")


def _begin(folder: Path) -> Start:
    newest = newest_complete(folder)
    if newest.checkpoint is not None:
        raise UsageError(
            f"{folder} already holds a run: continue it with --resume_from_checkpoint last, or choose another --output_dir"
        )
    if finished_after(folder) is not None:
        raise UsageError(f"{folder} already holds a finished run: choose another --output_dir")
    if newest.skipped:
        raise UsageError(
            f"{folder} already holds a run, but no checkpoint that it can be continued from ({'; '.join(newest.skipped)}): "
            "choose another --output_dir"
        )
    return Start()


def _last(folder: Path, max_steps: int) -> Start:
    newest = newest_complete(folder)
    notes = [f"Skipped: {said}." for said in newest.skipped]
    if newest.checkpoint is not None:
        return Start(newest.checkpoint, notes=notes)
    if (steps := finished_after(folder)) is not None:
        if (lacking := missing_model(folder)) is not None:
            raise UsageError(
                f"{folder} holds a finished run that lacks {lacking}, and no checkpoint to make it from: "
                "train again in another --output_dir"
            )
        if max_steps <= steps:
            return Start(nothing_left=True, notes=notes)
        raise UsageError(
            f"{folder} holds a finished run that kept no checkpoint to continue from: choose another --output_dir"
        )
    if newest.skipped:
        raise UsageError(
            f"{folder} holds no complete checkpoint to continue from ({'; '.join(newest.skipped)}): choose another --output_dir"
        )
    raise UsageError(f"{folder} holds no checkpoint to continue from: start without --resume_from_checkpoint")


def differences(before: dict[str, Any], parsed: "Parsed") -> str:
    """The settings that differ from a run's configuration, with their values before; empty if none does."""
    now = yaml.safe_load(yaml.safe_dump(parsed.effective()))
    return ", ".join(
        f"{name}: {before[name]}" for name in before.keys() & now.keys() - {"output_dir"} if before[name] != now[name]
    )
