"""TRL's trainers with the slow-fast update in place of theirs.

Where it departs from `GRPOTrainer`, and from nowhere else:

1. Between the gradient of a rollout batch's first mini-batch and its optimizer step (`on_pre_optimizer_step`), the gate
   decides α from the entropy at θ_0. Closed: nothing happens, and the step is bit for bit GRPO's.
2. Open: the K fast passes over the buffered batch run there and then, the first of them with the gradient at hand; the
   weights are repositioned; the gradient is computed anew. The optimizer steps that the trainer goes on to make are the
   slow pass. So nothing of a trajectory outlives the hook, and steps, schedule, logs and checkpoints count as ever.
3. With `compact_passes`, micro-batches are scored without the work that adds nothing (`compact.py`), and completions
   whose advantage is exactly 0 leave the backward of every pass, and the forward of all but the first (with several
   processes, every pass but the first).
4. π_old is the policy at θ_0 in every pass: the log-probabilities of pass 0 are kept in the batch (where TRL computes
   them itself, with several mini-batches a pass, its own are used).
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer, RLOOTrainer

from sfpo.model.prefill import keeps_every_key
from sfpo.slow_fast import SlowFast
from sfpo.trl.compact import Rows, distinct_rows, score, split_rows
from sfpo.trl.config import SFPOConfig, SFPORLOOConfig, SlowFastFields
from sfpo.trl.engines import engine_of
from sfpo.trl.head import Head
from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, completion_tokens, regroup, rows_without_gradient, without_advantage
from sfpo.trl.pass_metrics import PassMetrics
from sfpo.trl.rollouts import CompactRollouts

STATE_FILE = "sfpo_state.json"

if TYPE_CHECKING:
    _HostTrainer = Any
else:
    _HostTrainer = object


class SlowFastMixin(_HostTrainer):
    """Turns a TRL trainer that samples its own rollouts into its slow-fast twin.

    The host's configuration must carry `SlowFastFields`. Metrics are those of the host, over pass 0, and under `sfpo/`:
    the entropy at θ_0, Z, α and the gate's state, optimizer steps per rollout batch, rollouts so far, drift, seconds for
    rollouts and for the update, and per pass the importance ratio, KL to θ_0, clip fraction and gradient norm.

    Raises:
        ValueError: training runs on an engine whose weights SFPO does not know how to move.
    """

    args: Any
    _metrics: dict[str, defaultdict[str, list[float]]]
    _buffered_inputs: list[MicroBatch]

    _config_class: type[SlowFastFields]
    # For the model card.
    _tag_names = ("trl", "sfpo")
    _name = "SFPO"
    _paper: ClassVar[dict[str, str]] = {
        "title": "Slow-Fast Policy Optimization: Reposition-Before-Update for LLM Reasoning",
        "id": "2510.04072",
        "citation": "@inproceedings{sfpo2026,\n"
        "    title     = {{Slow-Fast Policy Optimization: Reposition-Before-Update for LLM Reasoning}},\n"
        "    booktitle = {ICLR},\n    year      = 2026,\n    eprint    = {arXiv:2510.04072},\n}",
    }

    def __init__(self, model: Any, reward_funcs: Any = None, args: Any = None, *more: Any, **keywords: Any) -> None:
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = self._config_class(f"{name.split('/')[-1]}-SFPO")
        if not isinstance(args, SlowFastFields):
            raise ValueError(
                f"{type(self).__name__} takes its settings from {self._config_class.__name__}, got {type(args).__name__}"
            )
        super().__init__(model, reward_funcs, args, *more, **keywords)
        self._host = Host.of(self)
        self._engine = engine_of(self)
        self.gate = self.args.make_gate()
        self.rollouts = 0
        """Completions sampled so far, over all processes."""
        self._accumulated: list[MicroBatch] = []
        self._replaying = False
        self._scored: tuple[Tensor, Tensor] | None = None
        self._rollout_sampler = CompactRollouts(self) if CompactRollouts.fit(self, self._host) else None
        self._entropies_of_rollouts: Tensor | None = None
        self._awaiting_rollout_scores = False
        self._idle: Tensor | None = None
        self._idle_scores: tuple[Tensor, Tensor] | None = None
        self._pass = PassMetrics()
        self._pass_log: dict[str, list[float]] = {}
        self._alpha = 0.0
        self._rollout_seconds = 0.0
        # Several mini-batches a pass: TRL makes as many optimizer steps for each batch of rollouts.
        self._mini_batches = max(1, self.args.steps_per_generation // self.args.gradient_accumulation_steps)
        self._decide_compaction()
        self.add_callback(_SlowFastHooks(self))

    def _decide_compaction(self) -> None:
        args = self.args
        compact = args.compact_passes and not self.aux_loss_enabled
        # Several processes must make the same forwards for the collectives of DDP and FSDP2 to meet, whatever their own
        # completions are, and DeepSpeed's engine hooks each: one a micro-batch, as TRL makes.
        self._one_forward = self.accelerator.distributed_type != DistributedType.NO
        host = self._host
        self._compact = compact
        self._skip_rows = compact and not host.adds_to_every_row and not host.kl_in_loss
        # The rows of a micro-batch that is normalized by its own tokens must stay together.
        self._regroup_rows = compact and not host.adds_to_every_row and not host.normalizes_micro_batches
        # Checkpointing recomputes layers without the cache that shared prompts live in.
        self._share_prompts = (
            not self._one_forward and not args.gradient_checkpointing and keeps_every_key(self.model.config)
        )

    # ---- What the passes are made of ------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if self._replaying:
            return generation_batch
        buffered = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self.model.training:
            if self._regroup_rows and self._buffered_inputs is not buffered:
                size = min(self.args.gradient_accumulation_steps, self.args.steps_per_generation)
                self._buffered_inputs = regroup(self._buffered_inputs, size)
                inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
            self._accumulated.append(inputs)
        return inputs

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> MicroBatch:
        training = self.model.training
        started = time.perf_counter()
        # With one mini-batch a pass the entropy comes from pass 0 itself, unless the sampler already knows it.
        self._awaiting_rollout_scores = training and self._mini_batches > 1 and self._rollout_sampler is None
        output: MicroBatch = super()._generate_and_score_completions(inputs)
        if training:
            if self._entropies_of_rollouts is not None:
                # TRL may have padded the completions further.
                missing = output["completion_ids"].shape[1] - self._entropies_of_rollouts.shape[1]
                output["entropies_at_start"] = nn.functional.pad(self._entropies_of_rollouts, (0, missing))
                self._entropies_of_rollouts = None
            self._record("distinct_share", self._distinct_share(output))
            self.rollouts += len(inputs) * self.accelerator.num_processes
            self._rollout_seconds += time.perf_counter() - started
        return output

    def _distinct_share(self, batch: MicroBatch) -> float:
        """Share of the completion tokens with an advantage that is left when equal completions of a prompt count once."""
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        rows = Rows(*(batch[name] for name in names))[~without_advantage(batch)]
        counts = [part.completion_mask.sum() for part in (distinct_rows(rows)[0], rows)]
        different, tokens = self._reduce(torch.stack(counts).float()).tolist()
        return float(different / tokens) if tokens else 1.0

    def _sample(self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any) -> list[list[int]] | None:
        """Completions by the sampler, or None to leave them to the host."""
        if self._rollout_sampler is None or images or multimodal_fields:
            return None
        sampled = self._rollout_sampler.sample(prompt_ids)
        if self.model.training:
            self._entropies_of_rollouts = _padded(sampled.entropies, self.accelerator.device)
        return sampled.completion_ids

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **multimodal: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        # The first scoring of new rollouts is π_old's; its entropies cost next to nothing beside its logits.
        is_rollout_score = self._awaiting_rollout_scores
        self._awaiting_rollout_scores = False
        host_scores = (
            not self._compact
            or model is self.ref_model  # its head gives no entropies
            or not attention_mask[:, -logits_to_keep:].any()  # a loss of no token still needs a graph
            or any(value is not None for value in multimodal.values())
        )
        if host_scores:
            logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy or is_rollout_score,
                compute_aux_loss=compute_aux_loss,
                **multimodal,
            )
        else:
            size = batch_size or len(input_ids)
            parts = [slice(start, start + size) for start in range(0, len(input_ids), size)]
            with self.accelerator.autocast():
                scores = [
                    self._score(model, split_rows(input_ids[part], attention_mask[part], logits_to_keep))
                    for part in parts
                ]
            logps, entropies = (torch.cat(part) for part in zip(*scores, strict=True))
            aux_loss = None
        if is_rollout_score:
            self._entropies_of_rollouts = entropies
        elif entropies is not None:
            self._scored = logps.detach(), entropies.detach()
        return logps, entropies, aux_loss

    def _score(self, model: nn.Module, rows: Rows) -> tuple[Tensor, Tensor]:
        if self._idle is None or (self._one_forward and self._idle_scores is None):
            return self._score_all(model, rows)
        idle, kept = self._idle.nonzero()[:, 0], (~self._idle).nonzero()[:, 0]
        scores = self._score_all(model, rows[kept])
        if self._idle_scores is None:
            with torch.no_grad():
                idle_scores = self._score_all(model, rows[idle])
        else:
            idle_scores = self._idle_scores[0][idle], self._idle_scores[1][idle]
        order = torch.cat([kept, idle]).argsort()
        logps, entropies = (torch.cat(pair)[order] for pair in zip(scores, idle_scores, strict=True))
        return logps, entropies

    def _score_all(self, model: nn.Module, rows: Rows) -> tuple[Tensor, Tensor]:
        head = Head.of(
            self.model,
            temperature=self.temperature,
            in_float32=self._host.head_in_float32,
        )
        return score(model, rows, head, share_prompts=self._share_prompts, one_forward=self._one_forward)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: MicroBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        training = self.model.training
        if training and self._skip_rows:
            self._idle = rows_without_gradient(inputs)
            if "entropies_at_start" in inputs:
                # Multiplied by an advantage of 0, any finite log-probability will do.
                entropies = inputs["entropies_at_start"]
                self._idle_scores = inputs.get("old_per_token_logps", torch.zeros_like(entropies)), entropies
        loss: Tensor = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if training and self._scored is not None:
            logps, entropies = self._scored
            # Pass 0 scores π_old. The batch is the buffered one, so the later passes find it there.
            old_logps = inputs.setdefault("old_per_token_logps", logps)
            inputs.setdefault("entropies_at_start", entropies)
            mask = completion_tokens(inputs)
            if self._idle is not None:
                mask = mask.masked_fill(self._idle[:, None], 0)
            band = (1 - self.epsilon_low, 1 + self.epsilon_high)
            self._pass.add(logps, old_logps, entropies, mask, inputs["advantages"], self._host.ratio_level, band)
        self._scored = self._idle = self._idle_scores = None
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._pass.add_grad_norm(float(grad_norm))
        return grad_norm

    # ---- The slow-fast update -------------------------------------------------------------------------------------

    def _before_optimizer_step(self) -> None:
        """The gradient of a mini-batch is at hand, clipped, and the optimizer is about to step."""
        window, self._accumulated = self._accumulated, []
        mini_batch = (self._step // self.args.gradient_accumulation_steps - 1) % self._mini_batches
        if mini_batch == 0:
            self._start_sfpo_step(window)
        if self._alpha > 0 and not self.args.slow_correction:
            # Lookahead ends with the reposition: without gradients the trainer's own steps change nothing.
            self.model_wrapped.zero_grad()
            self._pass = PassMetrics()
        elif mini_batch == self._mini_batches - 1:
            self._finish_pass(self.args.inner_steps if self._alpha > 0 else 0)

    def _start_sfpo_step(self, window: list[MicroBatch]) -> None:
        if self._mini_batches == 1:
            batch = [window]
        else:
            size = self.args.gradient_accumulation_steps
            batch = [self._buffered_inputs[i * size : (i + 1) * size] for i in range(self._mini_batches)]
        self._alpha = self._decide_alpha(batch)
        passes = 1
        if self._alpha > 0:
            passes = self.args.inner_steps + int(self.args.slow_correction)
            started = time.perf_counter()
            with self._replay():
                self._run_trajectory(self.model_wrapped, batch)
            if step_times := self._metrics["train"]["step_time"]:
                # TRL closed its own count of this step's seconds before the hook.
                step_times[-1] += time.perf_counter() - started
        self._record("optimizer_steps_per_rollout_batch", passes * self._mini_batches)

    def _run_trajectory(self, model: nn.Module, batch: list[list[MicroBatch]]) -> None:
        slow_fast = SlowFast(self._engine.parameters(), self.args.inner_steps, self._alpha, self.args.snapshot_device)
        fast_passes = 0

        def fast_pass() -> None:
            nonlocal fast_passes
            for index, mini_batch in enumerate(batch):
                if fast_passes > 0 or index > 0:  # otherwise its gradient is at hand
                    self._gradient(model, mini_batch)
                self._engine.fast_step()
            self._finish_pass(fast_passes)
            fast_passes += 1

        with slow_fast.trajectory(fast_pass):
            self._engine.refresh_forward()
            if self.args.slow_correction:
                self._gradient(model, batch[0])
        self._record("drift", self._engine.drift(slow_fast.report))
        self._record("snapshot_bytes", slow_fast.report.bytes_held)

    def _gradient(self, model: nn.Module, mini_batch: list[MicroBatch]) -> None:
        """Leave the clipped gradient of one mini-batch in the weights, as the trainer's own loop does."""
        model.zero_grad()
        gradient_state = self.accelerator.gradient_state
        for index, inputs in enumerate(mini_batch):
            last = index == len(mini_batch) - 1
            gradient_state._set_sync_gradients(last)
            with nullcontext() if last else self._engine.accumulating():
                # The base class's step, past TRL's, which counts the mini-batches it has seen.
                Trainer.training_step(self, model, inputs)
        grad_norm = self._clip_grad_norm(model) if self.args.max_grad_norm > 0 else None
        self._get_grad_norm(model, grad_norm=grad_norm)

    @contextmanager
    def _replay(self) -> Iterator[None]:
        """Passes over buffered micro-batches, whose host metrics are those of pass 0 already logged."""
        host_metrics = self._metrics
        self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._pass_log = host_metrics["train"]
        self._replaying = True
        try:
            yield
        finally:
            self._replaying = False
            self._metrics = host_metrics

    def _decide_alpha(self, batch: list[list[MicroBatch]]) -> float:
        alpha = float(self.args.alpha)
        entropy = self._entropy_at_start(batch)
        self._record("entropy", entropy)
        if self.gate is not None:
            alpha = self.gate.update(entropy)
            self._record("gate_closed", float(self.gate.closed))
            for name in ("z", "mean", "std"):
                value = getattr(self.gate, name)
                if value is not None:
                    self._record(name if name == "z" else f"entropy_{name}", value)
        self._record("alpha", alpha)
        return alpha

    def _entropy_at_start(self, batch: list[list[MicroBatch]]) -> float:
        """H_s in nats: the mean over the completion tokens of all processes, so that all decide alike."""
        sums = torch.zeros(2, device=self.accelerator.device)
        for inputs in (micro_batch for mini_batch in batch for micro_batch in mini_batch):
            mask = completion_tokens(inputs).bool()
            entropies = inputs["entropies_at_start"].float().masked_fill(~mask, 0.0)
            sums += torch.stack([entropies.sum(), mask.sum().float()])
        total, tokens = self._reduce(sums).tolist()
        return float(total / max(tokens, 1.0))

    def _reduce(self, tensor: Tensor, how: str = "sum") -> Tensor:
        if how == "max":
            return cast(Tensor, self.accelerator.gather(tensor).max())
        return cast(Tensor, self.accelerator.reduce(tensor, reduction="sum"))

    # ---- Metrics --------------------------------------------------------------------------------------------------

    @property
    def _log_values(self) -> dict[str, list[float]]:
        return self._pass_log if self._replaying else self._metrics["train"]

    def _record(self, name: str, value: float) -> None:
        self._log_values[f"sfpo/{name}"].append(float(value))

    def _finish_pass(self, index: int) -> None:
        for name, value in self._pass.summary(self._reduce).items():
            self._record(f"pass_{index}/{name}", value)
        self._pass = PassMetrics()

    def _after_step(self, seconds: float) -> None:
        rollout, self._rollout_seconds = self._rollout_seconds, 0.0
        self._record("rollout_seconds", rollout)
        self._record("update_seconds", seconds - rollout)
        # A running total, so the mean over a logging interval would be wrong.
        self._metrics["train"]["sfpo/rollouts"] = [float(self.rollouts)]

    @property
    def _between_sfpo_steps(self) -> bool:
        return bool(self._step % self.args.steps_per_generation == 0)

    # ---- Checkpoints ----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            state = {"rollouts": self.rollouts, "gate": None if self.gate is None else self.gate.state_dict()}
            (folder / STATE_FILE).write_text(json.dumps(state))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        # A checkpoint of plain GRPO has none: SFPO then starts from it with a fresh gate.
        if checkpoint is not None and (path := Path(checkpoint) / STATE_FILE).exists():
            state = json.loads(path.read_text())
            self.rollouts = state["rollouts"]
            if self.gate is not None and state["gate"] is not None:
                self.gate.load_state_dict(state["gate"])


class _SlowFastHooks(TrainerCallback):
    """Calls the trainer at the points of the loop where SFPO acts."""

    def __init__(self, trainer: SlowFastMixin) -> None:
        self._trainer = trainer
        self._started = 0.0
        self._save_owed = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._engine.start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._before_optimizer_step()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._engine.finish_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self._trainer._after_step(time.perf_counter() - self._started)
        # A batch of rollouts is not saved, so a checkpoint waits for its last mini-batch.
        self._save_owed |= control.should_save
        control.should_save = self._save_owed and (self._trainer._between_sfpo_steps or control.should_training_stop)
        self._save_owed &= not control.should_save
        return control


class SFPOTrainer(SlowFastMixin, GRPOTrainer):
    """`trl.GRPOTrainer` with the slow-fast update: the same constructor, with `args` an `SFPOConfig`."""

    args: SFPOConfig
    _config_class = SFPOConfig

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Sample a completion for every tokenized prompt, as rollouts are sampled."""
        completion_ids: list[list[int]] = self._generate_single_turn(prompt_ids, None, {}, 1)[0]
        return completion_ids

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any, *args: Any, **kwargs: Any
    ) -> Any:
        completion_ids = self._sample(prompt_ids, images, multimodal_fields)
        if completion_ids is None:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *args, **kwargs)
        return completion_ids, None


class SFPORLOOTrainer(SlowFastMixin, RLOOTrainer):
    """`trl.RLOOTrainer` with the slow-fast update: the same constructor, with `args` an `SFPORLOOConfig`."""

    args: SFPORLOOConfig
    _config_class = SFPORLOOConfig

    def _generate_single_turn(self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any) -> Any:
        completion_ids = self._sample(prompt_ids, images, multimodal_fields)
        if completion_ids is None:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields)
        return completion_ids


def _padded(rows: list[list[float]], device: torch.device) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row, device=device) for row in rows], batch_first=True)
