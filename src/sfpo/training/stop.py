"""Ends a training where the user asked for it, with everything up to there saved, and says how to go on."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sfpo import interrupt
from sfpo.options import command_line, without


class StopWhenAsked(TrainerCallback):
    """Ends training, with a checkpoint, after the batch of rollouts in which some process was asked to stop.

    It belongs behind the trainer's own callbacks, which decide of checkpoints, too.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self._trainer.batch_is_complete and self._asked():
            self.stopped = True
            control.should_save = control.should_training_stop = True
        return control

    def _asked(self) -> bool:
        """Whether any process was: all of them must end at the same step."""
        accelerator = self._trainer.accelerator
        if accelerator.num_processes == 1:
            return interrupt.requested()
        asked = torch.tensor(float(interrupt.requested()), device=accelerator.device)
        return bool(accelerator.reduce(asked, reduction="sum") > 0)


def command_to_continue(arguments: Sequence[str], folder: Path, checkpoint: bool) -> str:
    """The command that goes on with the run of `sfpo train` that had these arguments.

    Args:
        checkpoint: whether there is one to go on from; the run begins anew without.
    """
    options = ["--output_dir", str(folder), *(["--resume_from_checkpoint", "last"] if checkpoint else [])]
    if "WORLD_SIZE" in os.environ:  # started by a launcher, whose own arguments are not known here
        return f"the same command with {shlex.join(options)}"
    kept = without(arguments, "output_dir", "resume_from_checkpoint")
    return command_line("train", [*kept, *options])
