"""Checkpoints that are complete or not there.

Transformers writes a checkpoint file by file into its place, so that a process that ends meanwhile leaves one that lacks
parts, and training that continues from it is another training. Here a checkpoint is written in a folder beside, SFPO's state
included; one rename puts it in its place once all processes have written their parts and the disk has them. Only then are
older ones deleted, each by a rename first, so that no folder named like a checkpoint is ever incomplete.

`sfpo_state.json` lists the parts with their sizes and checksums, so that one that is lost or damaged later is noticed.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers.trainer_utils import sort_checkpoints

from sfpo.checkpoints import STATE_FILE, TRAINER_STATE, UNFINISHED, missing_part, newest_complete
from sfpo.whole import fingerprint, sync_folder, sync_tree, write_whole

_logger = logging.getLogger(__name__)

_BINARY = {".safetensors", ".pt", ".pth", ".bin"}
_NAMED = {TRAINER_STATE, "config.json", "generation_config.json", "adapter_config.json", "latest"}


def to_continue_from(wanted: str | bool | None, folder: Path, processes: int) -> Path | None:
    """The checkpoint that `train(resume_from_checkpoint=wanted)` means; True for the newest complete one in `folder`.

    Raises:
        ValueError: there is none, or the one that is named lacks a part.
    """
    if not wanted:
        return None
    if wanted is True:
        newest = newest_complete(folder)
        for said in newest.skipped:
            _logger.warning("Skipped an incomplete checkpoint: %s.", said)
        if newest.checkpoint is None:
            raise ValueError(f"there is no complete checkpoint in {folder} to continue from")
        checkpoint = newest.checkpoint
    else:
        checkpoint = Path(wanted)
        if (missing := missing_part(checkpoint)) is not None:
            raise ValueError(f"cannot continue from {checkpoint}: it lacks {missing}")
    # Each process has a state of its random numbers there.
    if (before := max(1, len(list(checkpoint.glob("rng_state_*.pth"))))) != processes:
        _logger.warning(
            "%s was saved by %d processes, and these are %d: random numbers begin anew.", checkpoint, before, processes
        )
    return checkpoint


class CheckpointWriter:
    """Writes the checkpoints of one trainer.

    Args:
        state: gives what `sfpo_state.json` holds besides the parts.
    """

    def __init__(self, trainer: Any, state: Callable[[], dict[str, Any]]) -> None:
        self._trainer = trainer
        self._state = state
        self.is_writing = False

    def clean(self, folder: Path) -> None:
        """Delete what a process that was killed has left of a checkpoint."""
        if self._trainer.is_local_process_zero():
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)

    @contextmanager
    def writing(self, place: Path) -> Iterator[None]:
        """What the trainer writes into `inside(place.parent)` within this context is at `place`, whole, after it."""
        unfinished = place.parent / UNFINISHED
        self.clean(place.parent)
        self._trainer.accelerator.wait_for_everyone()
        self.is_writing = True
        try:
            yield
            self._mend_best(place)
            self._trainer.accelerator.wait_for_everyone()
            self._finish(unfinished / place.name)
        except BaseException:
            # The disk may be full, and part of a checkpoint is of no use.
            self.clean(place.parent)
            raise
        finally:
            self.is_writing = False
        self._trainer.accelerator.wait_for_everyone()
        if self._trainer.args.should_save:
            _put(unfinished / place.name, place)
            self._rotate(place)
        self._trainer.accelerator.wait_for_everyone()
        if self._trainer.is_local_process_zero() and not self._trainer.args.should_save:
            # Another machine's disk holds the parts that its own processes wrote; a shared one has none left.
            with suppress(OSError):
                (unfinished / place.name).rename(place)
        self.clean(place.parent)

    def inside(self, folder: str) -> str:
        """Where the trainer must write what belongs into `folder`."""
        return os.path.join(folder, UNFINISHED) if self.is_writing else folder

    def _mend_best(self, place: Path) -> None:
        """The best checkpoint may be this one, and the trainer then noted where it is being written."""
        state = self._trainer.state
        if state.best_model_checkpoint == str(place.parent / UNFINISHED / place.name):
            state.best_model_checkpoint = str(place)
            if self._trainer.args.should_save:
                state.save_to_json(str(place.parent / UNFINISHED / place.name / TRAINER_STATE))

    def _finish(self, checkpoint: Path) -> None:
        if self._trainer.args.should_save:
            parts = {
                str(path.relative_to(checkpoint)): fingerprint(path)
                for path in sorted(checkpoint.rglob("*"))
                if path.is_file() and (path.suffix in _BINARY or path.name in _NAMED or path.parent != checkpoint)
            }
            write_whole(checkpoint / STATE_FILE, json.dumps(self._state() | {"parts": parts}))
        if self._trainer.is_local_process_zero() and checkpoint.is_dir():
            sync_tree(checkpoint)

    def _rotate(self, place: Path) -> None:
        """Delete the oldest checkpoints beyond the limit, but neither the best one nor the one just written."""
        limit, best = self._trainer.args.save_total_limit, self._trainer.state.best_model_checkpoint
        if limit is None or limit <= 0:
            return
        kept = {path for path in (place, Path(best or place)) if path.is_dir()}
        others = [Path(path) for path in sort_checkpoints(str(place.parent), use_mtime=True)]
        # One that lost a part is of less use than any other.
        others = sorted(
            (path for path in others if path not in kept),
            key=lambda path: missing_part(path, by_size_alone=True) is None,
        )
        for path in others[: max(0, len(others) + len(kept) - max(limit, len(kept)))]:
            _delete(path)


def _put(new: Path, place: Path) -> None:
    """Rename a checkpoint, in place of one of the same step that may be there."""
    if place.is_dir():
        _delete(place)
    new.rename(place)
    sync_folder(place.parent)


def _delete(checkpoint: Path) -> None:
    doomed = checkpoint.parent / UNFINISHED / f"deleted-{checkpoint.name}"
    checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
