"""The points of TRL's training loop where SFPO acts."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sfpo.trl.engines import Engine
from sfpo.trl.step import SFPOStep
from sfpo.trl.step_log import StepLog


class SlowFastHooks(TrainerCallback):
    """Starts the parts of a slow-fast trainer with its training, and calls them in each of its steps."""

    def __init__(self, trainer: Any, engine: Engine, step: SFPOStep, log: StepLog) -> None:
        self._trainer = trainer
        self._engine = engine
        self._step = step
        self._log = log
        self._started = 0.0
        self._save_owed = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A run that failed, or ended within a batch of rollouts, left the host and our parts there.
        self._trainer._step = 0
        self._trainer._buffered_inputs = None
        self._save_owed = False
        self._engine.start()
        self._log.start()
        self._step.start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step.before_optimizer_step()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._engine.finish_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self._log.finish_step(time.perf_counter() - self._started, self._trainer.rollouts)
        # A batch of rollouts is not saved, so a checkpoint waits for its last mini-batch.
        self._save_owed |= control.should_save
        control.should_save = self._save_owed and (self._step.is_complete or control.should_training_stop)
        self._save_owed &= not control.should_save
        return control
