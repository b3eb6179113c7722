"""What is measured in the course of an SFPO step, and where it is logged."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor

from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, completion_tokens, without_advantage
from sfpo.trl.pass_metrics import PassMetrics

PREFIX = "sfpo/"


@contextmanager
def metrics_apart(trainer: Any) -> Iterator[None]:
    """Keeps what the host measures meanwhile out of its metrics."""
    logged = trainer._metrics
    trainer._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    try:
        yield
    finally:
        trainer._metrics = logged


class StepLog:
    """Writes SFPO's metrics among those of the host, which logs their means, and keeps replayed passes out of the host's own."""

    def __init__(self, trainer: Any, host: Host) -> None:
        self._trainer = trainer
        self._ratio_level = host.ratio_level
        self._every_row_has_gradient = host.every_row_has_gradient
        self.start()

    def start(self) -> None:
        """Training begins: forget what an earlier run left unfinished."""
        self._pass = PassMetrics()
        self._rollout_seconds = 0.0
        self._logged: dict[str, dict[str, list[float]]] | None = None
        """The host's metrics while passes are replayed."""
        self._trainer._metrics["train"].clear()

    @property
    def replaying(self) -> bool:
        """Whether the pass that is being made goes over micro-batches that have been trained on before."""
        return self._logged is not None

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Surrounds the passes after pass 0, whose metrics the host has logged already."""
        logged = self._trainer._metrics
        started = time.perf_counter()
        with metrics_apart(self._trainer):
            self._logged = logged
            try:
                yield
            finally:
                self._logged = None
        if step_times := logged["train"]["step_time"]:
            # TRL closed its own count of this step's seconds before the hook.
            step_times[-1] += time.perf_counter() - started

    def record(self, name: str, value: float) -> None:
        """Log one value; with several between two logs of the host, their mean appears there."""
        self._train_metrics[f"{PREFIX}{name}"].append(float(value))

    @property
    def _train_metrics(self) -> dict[str, list[float]]:
        metrics: dict[str, dict[str, list[float]]] = self._trainer._metrics if self._logged is None else self._logged
        return metrics["train"]

    def reduce(self, tensor: Tensor, how: str = "sum") -> Tensor:
        """Combine a tensor of all processes by "sum" (elementwise) or "max" (over all elements)."""
        accelerator = self._trainer.accelerator
        if how == "max":
            return cast(Tensor, accelerator.gather(tensor).max())
        return cast(Tensor, accelerator.reduce(tensor, reduction="sum"))

    # ---- A pass ---------------------------------------------------------------------------------------------------

    def add_scores(self, inputs: MicroBatch, logps: Tensor, entropies: Tensor, idle: Tensor | None) -> None:
        """Take in the scores (R, C) of one micro-batch, but for the (R,) rows that are idle."""
        mask = completion_tokens(inputs)
        if idle is not None:
            mask = mask.masked_fill(idle[:, None], 0)
        with_gradient = ~without_advantage(inputs) | self._every_row_has_gradient
        band = (1 - self._trainer.epsilon_low, 1 + self._trainer.epsilon_high)
        old_logps, advantages = inputs["old_per_token_logps"], inputs["advantages"]
        self._pass.add(logps, old_logps, entropies, mask, with_gradient, advantages, self._ratio_level, band)

    def add_grad_norm(self, grad_norm: float) -> None:
        """Take in the norm of one optimizer step's gradient, before clipping."""
        self._pass.add_grad_norm(grad_norm)

    def latest_grad_norm(self) -> float:
        """Norm of the gradient that is at hand, before clipping."""
        return self._pass.latest_grad_norm

    def latest_kl(self) -> float:
        """KL to θ_0, in nats a token of the rows with a gradient, over the mini-batch whose gradient is at hand."""
        return self._pass.latest_kl(self.reduce)

    def kl_of_pass(self) -> float:
        """The same over the pass so far."""
        return self._pass.kl(self.reduce)

    def finish_pass(self, index: int) -> None:
        """Log what was measured in the pass that was made, over all processes."""
        for name, value in self._pass.summary(self.reduce).items():
            self.record(f"pass_{index}/{name}", value)
        self.drop_pass()

    def drop_pass(self) -> None:
        """Leave the pass that was made out of the log."""
        self._pass = PassMetrics()

    # ---- Seconds --------------------------------------------------------------------------------------------------

    @contextmanager
    def timed_rollouts(self) -> Iterator[None]:
        """Surrounds the sampling and grading of rollouts."""
        started = time.perf_counter()
        yield
        self._rollout_seconds += time.perf_counter() - started

    def finish_step(self, seconds: float, rollouts: int) -> None:
        """Log a step of the trainer that took so long, and the rollouts so far."""
        rollout, self._rollout_seconds = self._rollout_seconds, 0.0
        self.record("rollout_seconds", rollout)
        self.record("update_seconds", seconds - rollout)
        # A running total, so the mean over a logging interval would be wrong.
        self._train_metrics[f"{PREFIX}rollouts"] = [float(rollouts)]
