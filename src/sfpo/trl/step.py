"""The SFPO step inside a TRL trainer's own step: entropy, α, fast passes, reposition, the gradient of the slow pass."""

from contextlib import nullcontext
from typing import Any

import torch
from transformers import Trainer

from sfpo.gate import EntropyGate
from sfpo.slow_fast import SlowFast
from sfpo.trl.engines import Engine
from sfpo.trl.micro_batch import MicroBatch, completion_tokens
from sfpo.trl.step_log import StepLog


class SFPOStep:
    """Acts on each batch of rollouts when the gradient of its first mini-batch is at hand and the optimizer is about to step.

    A batch is M mini-batches, each of them the micro-batches of one optimizer step. With α = 0 nothing happens. Otherwise
    the fast passes and the reposition happen there and then, and the gradient at hand becomes that of the slow pass, which
    the trainer's own M optimizer steps make.
    """

    def __init__(self, trainer: Any, engine: Engine, log: StepLog) -> None:
        args = trainer.args
        self._trainer = trainer
        self._engine = engine
        self._log = log
        self.gate: EntropyGate | None = args.make_gate()
        # TRL makes several optimizer steps from one batch of rollouts, or accumulates several batches for one.
        self.mini_batches = max(1, args.steps_per_generation // args.gradient_accumulation_steps)
        self._slow_fast: SlowFast
        """For the whole run; made when training begins, since some engines make the weights it moves only then."""
        self._accumulated: list[MicroBatch] = []
        """What the trainer has trained on since its last optimizer step."""
        self._alpha = 0.0
        self._fast_passes = 0

    def start(self) -> None:
        """Training begins: model and optimizer are prepared, and what an earlier run left unfinished is void."""
        args = self._trainer.args
        self._slow_fast = SlowFast(self._engine.parameters(), args.inner_steps, args.alpha, args.snapshot_device)
        self._accumulated = []
        self._alpha = 0.0
        self._fast_passes = 0

    def accumulate(self, micro_batch: MicroBatch) -> None:
        """Take in what the trainer is about to train on."""
        self._accumulated.append(micro_batch)

    def before_optimizer_step(self) -> None:
        """The gradient of a mini-batch is at hand, clipped."""
        window, self._accumulated = self._accumulated, []
        args = self._trainer.args
        mini_batch = (self._trainer._step // args.gradient_accumulation_steps - 1) % self.mini_batches
        if mini_batch == 0:
            self._take(self._batch(window))
        if self._alpha > 0 and not args.slow_correction:
            # Lookahead ends with the reposition: without gradients the trainer's own steps change nothing.
            self._trainer.model_wrapped.zero_grad()
            self._log.drop_pass()
        elif mini_batch == self.mini_batches - 1:
            self._log.finish_pass(self._fast_passes)

    @property
    def is_complete(self) -> bool:
        """Whether the trainer has made its optimizer steps from all mini-batches of the last batch of rollouts."""
        return bool(self._trainer._step % self._trainer.args.steps_per_generation == 0)

    def _batch(self, window: list[MicroBatch]) -> list[list[MicroBatch]]:
        """The mini-batches of the batch of rollouts that begins with this window."""
        if self.mini_batches == 1:
            return [window]
        size = self._trainer.args.gradient_accumulation_steps
        buffered = self._trainer._buffered_inputs
        return [buffered[index * size : (index + 1) * size] for index in range(self.mini_batches)]

    # ---- One step -------------------------------------------------------------------------------------------------

    def _take(self, batch: list[list[MicroBatch]]) -> None:
        self._alpha = self._decide_alpha(self.entropy_at_start(batch))
        self._fast_passes = 0
        if self._alpha > 0:
            with self._log.replay():
                self._take_trajectory(batch)
        slow_passes = int(self._alpha == 0 or self._trainer.args.slow_correction)
        passes = self._fast_passes + slow_passes
        self._log.record("optimizer_steps_per_rollout_batch", passes * self.mini_batches)

    def _take_trajectory(self, batch: list[list[MicroBatch]]) -> None:
        with self._slow_fast.trajectory(lambda: self._fast_pass(batch), self._alpha):
            self._engine.refresh_forward()
            if self._trainer.args.slow_correction:
                self._gradient(batch[0])
        report = self._slow_fast.report
        self._log.record("drift", self._engine.drift(report))
        self._log.record("snapshot_bytes", report.bytes_held)

    def _fast_pass(self, batch: list[list[MicroBatch]]) -> dict[str, float]:
        """Make one pass with its optimizer steps; returns what was measured in it, such as the KL to θ_0."""
        for index, mini_batch in enumerate(batch):
            if self._fast_passes > 0 or index > 0:  # otherwise its gradient is at hand
                self._gradient(mini_batch)
            self._engine.fast_step()
        measured = self._log.finish_pass(self._fast_passes)
        self._fast_passes += 1
        return measured

    def _gradient(self, mini_batch: list[MicroBatch]) -> None:
        """Leave the clipped gradient of one mini-batch in the weights, as the trainer's own loop does."""
        trainer = self._trainer
        model = trainer.model_wrapped
        model.zero_grad()
        for index, inputs in enumerate(mini_batch):
            last = index == len(mini_batch) - 1
            trainer.accelerator.gradient_state._set_sync_gradients(last)
            with nullcontext() if last else self._engine.accumulating():
                # The base class's step, past TRL's, which counts the mini-batches it has seen.
                Trainer.training_step(trainer, model, inputs)
        grad_norm = trainer._clip_grad_norm(model) if trainer.args.max_grad_norm > 0 else None
        trainer._get_grad_norm(model, grad_norm=grad_norm)

    def _decide_alpha(self, entropy: float) -> float:
        alpha = float(self._trainer.args.alpha)
        self._log.record("entropy", entropy)
        if self.gate is not None:
            alpha = self.gate.update(entropy)
            self._log.record("gate_closed", float(self.gate.closed))
            for name, value in (("z", self.gate.z), ("entropy_mean", self.gate.mean), ("entropy_std", self.gate.std)):
                if value is not None:
                    self._log.record(name, value)
        self._log.record("alpha", alpha)
        return alpha

    def entropy_at_start(self, batch: list[list[MicroBatch]]) -> float:
        """H_s in nats: the mean over the completion tokens of all processes, so that all decide alike."""
        sums = torch.zeros(2, device=self._trainer.accelerator.device)
        for inputs in (micro_batch for mini_batch in batch for micro_batch in mini_batch):
            mask = completion_tokens(inputs).bool()
            entropies = inputs["entropies_at_start"].float().masked_fill(~mask, 0.0)
            sums += torch.stack([entropies.sum(), mask.sum().float()])
        total, tokens = self._log.reduce(sums).tolist()
        return float(total / max(tokens, 1.0))

    # ---- Checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep for the α of later steps, as plain JSON values."""
        return {"gate": None if self.gate is None else self.gate.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; a gate that has none begins anew."""
        if self.gate is not None and state["gate"] is not None:
            self.gate.load_state_dict(state["gate"])
