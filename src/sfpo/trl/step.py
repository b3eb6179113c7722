"""The SFPO step inside a TRL trainer's own step: entropy, α, fast passes, reposition, the gradient of the slow pass."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from transformers import Trainer

from sfpo.gate import EntropyGate
from sfpo.gxpo import GXPO
from sfpo.kl_stop import KLStop
from sfpo.settings import ask_gate
from sfpo.slow_fast import SlowFast, TrajectoryLine
from sfpo.trl.engines import Engine
from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, completion_tokens, without_advantage
from sfpo.trl.step_log import StepLog
from sfpo.trust_region import TrustRegion

Rule = float | TrustRegion | KLStop
"""α, or what chooses it."""
_NO_GRADIENT = 1e-8
"""The norm up to which GXPO's authors take a gradient for none, and make a plain step."""


class SFPOStep:
    """Acts on each batch of rollouts when the gradient of its first mini-batch is at hand and the optimizer is about to step.

    A batch is M mini-batches, each of them the micro-batches of one optimizer step. With α = 0 nothing happens. Otherwise
    the fast passes and the reposition happen there and then, and the gradient at hand becomes that of the slow pass, which
    the trainer's own M optimizer steps make. A rule that chooses α is given the KL of each pass.

    With `gxpo_moments` the steps are GXPO's, and as its authors do, each mini-batch has a trajectory and a slow step of its own.
    """

    def __init__(self, trainer: Any, engine: Engine, host: Host, log: StepLog) -> None:
        args = trainer.args
        self._trainer = trainer
        self._engine = engine
        self._every_row_counts = host.every_row_has_gradient
        self._log = log
        self.gate: EntropyGate | None = args.make_gate()
        # TRL makes several optimizer steps from one batch of rollouts, or accumulates several batches for one.
        self.mini_batches = max(1, args.steps_per_generation // args.gradient_accumulation_steps)
        self._region = args.make_trust_region(self.mini_batches)
        self._slow_fast: SlowFast | GXPO
        """For the whole run; made when training begins, since some engines make the weights it moves only then."""
        self._rule: Rule = 0.0
        """That of the batch of rollouts at hand."""
        self._accumulated: list[MicroBatch] = []
        """What the trainer has trained on since its last optimizer step."""
        self._fast_passes = 0
        self._fast_steps = 0
        self._gradients = 0
        """Those made beyond what the trainer's own loop makes."""
        self._leaves_slow_pass_out = False

    def start(self) -> None:
        """Training begins: model and optimizer are prepared, and what an earlier run left unfinished is void."""
        args = self._trainer.args
        # With a stop on KL all K + 1 epochs are fast passes: it is asked before the last one's steps, too.
        passes = args.inner_steps + int(args.target_kl is not None)
        if args.gxpo_moments is None:
            rule = self._region or args.alpha
            self._slow_fast = SlowFast(self._engine.parameters(), passes, rule, args.snapshot_device)
        else:
            optimizer, moments = self._trainer.optimizer, args.gxpo_moments
            self._slow_fast = GXPO(optimizer, args.inner_steps, args.alpha, moments, args.snapshot_device)
        self._accumulated = []
        self._fast_passes = self._fast_steps = self._gradients = 0
        self._leaves_slow_pass_out = False

    def accumulate(self, micro_batch: MicroBatch) -> None:
        """Take in what the trainer is about to train on."""
        self._accumulated.append(micro_batch)

    def before_optimizer_step(self) -> None:
        """The gradient of a mini-batch is at hand, clipped."""
        window, self._accumulated = self._accumulated, []
        args = self._trainer.args
        mini_batch = (self._trainer._step // args.gradient_accumulation_steps - 1) % self.mini_batches
        if mini_batch == 0:
            batch = self._batch(window)
            self._rule = self._rule_for(batch)
            if not isinstance(self._slow_fast, GXPO):
                self._take(batch, self._rule)
        if isinstance(self._slow_fast, GXPO):
            self._take([window], 0.0 if self._log.latest_grad_norm() <= _NO_GRADIENT else self._rule)
        if self._leaves_slow_pass_out:
            self._engine.leave_step_out()
            self._log.drop_pass()
        elif mini_batch == self.mini_batches - 1 or isinstance(self._slow_fast, GXPO):
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

    def _take(self, batch: list[list[MicroBatch]], rule: Rule) -> None:
        """Take the trajectory over all mini-batches of a batch of rollouts; GXPO's over one of them."""
        self._fast_passes = self._fast_steps = self._gradients = 0
        self._leaves_slow_pass_out = False
        if rule != 0.0:
            with self._log.replay():
                self._take_trajectory(batch, rule)
            report = self._slow_fast.report
            self._log.record("drift", self._engine.drift(report))
            self._log.record("snapshot_bytes", report.bytes_held)
        self._log.record("alpha", 0.0 if rule == 0.0 else self._slow_fast.report.alpha)
        steps = self._fast_steps + (0 if self._leaves_slow_pass_out else len(batch))
        self._log.record("optimizer_steps_per_rollout_batch", steps * self.mini_batches / len(batch))
        # The trainer's own loop makes as many gradients as there are mini-batches, whatever becomes of their steps.
        self._log.record("passes", 1 + self._gradients / len(batch))

    def _take_trajectory(self, batch: list[list[MicroBatch]], rule: Rule) -> None:
        if isinstance(self._slow_fast, GXPO):
            with self._slow_fast.trajectory(lambda: self._fast_pass(batch, rule)):
                self._gradient(batch[0])
            self._log.record("extrapolation", self._slow_fast.report.extrapolation)
            return
        with self._slow_fast.trajectory(lambda: self._fast_pass(batch, rule), rule) as line:
            self._engine.refresh_forward()
            self._leaves_slow_pass_out = not (self._trainer.args.slow_correction and line.corrects)
            if not self._leaves_slow_pass_out:
                self._slow_gradient(batch[0], rule, line)
        if isinstance(rule, TrustRegion):
            report = self._slow_fast.report
            self._log.record("kl_budget", rule.kl_budget)
            if (predicted := rule.predicted_kl(report.passes)) is not None:
                self._log.record("kl_predicted", predicted)
            self._log.record("line_search_steps", report.line_search_steps)

    def _fast_pass(self, batch: list[list[MicroBatch]], rule: Rule) -> float:
        """Make one pass with its optimizer steps, up to one that a rule leaves out; returns the KL to θ_0 for the rule.

        That is the mean over the pass or, where a step was left out, the KL at the weights that it was left out at.
        """
        measured = None
        for index, mini_batch in enumerate(batch):
            at_start = self._fast_passes == 0 and index == 0  # its gradient is at hand, and the weights are θ_0
            if not at_start:
                self._gradient(mini_batch)
            if not isinstance(rule, float):
                kl = (
                    self._log.latest_kl()
                )  # asked at the start, too, so that the next answer is of its mini-batch alone
                if rule.is_outside(kl) and not at_start:
                    measured = kl
                    break
            self._engine.fast_step()
            self._fast_steps += 1
        if measured is None:
            measured = math.nan if isinstance(rule, float) else self._log.kl_of_pass()
        self._log.finish_pass(self._fast_passes)
        self._fast_passes += 1
        return measured

    def _slow_gradient(self, mini_batch: list[MicroBatch], rule: Rule, line: TrajectoryLine) -> None:
        """Leave the gradient at θ̃ in the weights, after as many moves back along the line as the rule asks for."""
        self._gradient(mini_batch)
        if isinstance(rule, float):
            return
        while line.moves_back(reached := self._log.latest_kl()):
            self._engine.refresh_forward()
            self._log.drop_pass()
            self._gradient(mini_batch)
        self._log.record("kl_reached", reached)

    def _gradient(self, mini_batch: list[MicroBatch]) -> None:
        """Leave the clipped gradient of one mini-batch in the weights, as the trainer's own loop does."""
        trainer = self._trainer
        model = trainer.model_wrapped
        self._gradients += 1
        model.zero_grad()
        for index, inputs in enumerate(mini_batch):
            last = index == len(mini_batch) - 1
            trainer.accelerator.gradient_state._set_sync_gradients(last)
            with nullcontext() if last else self._engine.accumulating():
                # The base class's step, past TRL's, which counts the mini-batches it has seen.
                Trainer.training_step(trainer, model, inputs)
        grad_norm = trainer._clip_grad_norm(model) if trainer.args.max_grad_norm > 0 else None
        trainer._get_grad_norm(model, grad_norm=grad_norm)

    def _rule_for(self, batch: list[list[MicroBatch]]) -> Rule:
        """α of this batch, or what chooses it; 0 where the gate is closed, or where no completion has an advantage."""
        for name, value in ask_gate(self.gate, self.entropy_at_start(batch)).items():
            self._log.record(name, value)
        if self.gate is not None and self.gate.closed:
            return 0.0
        args = self._trainer.args
        if args.target_kl is not None:
            return KLStop(args.target_kl)
        if self._region is None:
            return float(args.alpha)
        share = self._active_share(batch)
        self._log.record("active_share", share)
        # Without an advantage there is nothing to measure a step by, and momentum alone would be extrapolated.
        return self._region.for_batch(share) if share > 0.0 else 0.0

    def _active_share(self, batch: list[list[MicroBatch]]) -> float:
        """The share of the completions of all processes that have a gradient."""
        if self._every_row_counts:
            return 1.0
        idle = torch.cat([without_advantage(inputs) for mini_batch in batch for inputs in mini_batch])
        counts = torch.tensor([(~idle).sum(), len(idle)], dtype=torch.float32, device=idle.device)
        active, rows = self._log.reduce(counts).tolist()
        return float(active / rows)

    def entropy_at_start(self, batch: list[list[MicroBatch]]) -> float | None:
        """H_s in nats: the mean over the completion tokens of all processes, so that all decide alike; None without any."""
        sums = torch.zeros(2, device=self._trainer.accelerator.device)
        for inputs in (micro_batch for mini_batch in batch for micro_batch in mini_batch):
            mask = completion_tokens(inputs).bool()
            entropies = inputs["entropies_at_start"].float().masked_fill(~mask, 0.0)
            sums += torch.stack([entropies.sum(), mask.sum().float()])
        total, tokens = self._log.reduce(sums).tolist()
        return float(total / tokens) if tokens else None

    # ---- Checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep for the α of later steps, as plain JSON values."""
        return {"gate": None if self.gate is None else self.gate.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; a gate that has none begins anew."""
        if self.gate is not None and state["gate"] is not None:
            self.gate.load_state_dict(state["gate"])
