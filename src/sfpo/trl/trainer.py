"""TRL's trainers with the slow-fast update in place of theirs: what TRL calls, and nothing else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer, RLOOTrainer

from sfpo.gate import EntropyGate
from sfpo.trl.config import SFPOConfig, SFPORLOOConfig, SlowFastFields
from sfpo.trl.engines import engine_of
from sfpo.trl.hooks import SlowFastHooks
from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, regroup
from sfpo.trl.rollouts import Rollouts, distinct_share
from sfpo.trl.scoring import Scorer
from sfpo.trl.step import SFPOStep
from sfpo.trl.step_log import StepLog

STATE_FILE = "sfpo_state.json"

if TYPE_CHECKING:
    _HostTrainer = Any
else:
    _HostTrainer = object


class SlowFastMixin(_HostTrainer):
    """Every departure from `GRPOTrainer`, complete:

    1. The update (`step.py`). Between the gradient of a rollout batch's first mini-batch and its optimizer step, the gate
       decides α from the entropy at θ_0. Closed: nothing happens, and the step is bit for bit GRPO's. Open: the K fast
       passes over the buffered batch run there and then, the first of them with the gradient at hand; the weights are
       repositioned; the gradient is computed anew. The optimizer steps that the trainer goes on to make are the slow pass.
       So nothing of a trajectory outlives the hook, and steps, schedule, logs and checkpoints count as ever. With
       `gxpo_moments` the same happens at each mini-batch, with GXPO's two fast passes over that mini-batch.
    2. π_old is the policy at θ_0 in every pass: pass 0 leaves its log-probabilities in the batch. With several mini-batches
       a pass, TRL computes them itself, and its own are used.
    3. With `compact_passes`, micro-batches are scored without the work that adds nothing (`compact.py`), completions of a
       prompt meet in one micro-batch, and completions whose advantage is exactly 0 leave the backward of every pass, and
       the forward of all but the first (with several processes, every pass but the first).
    4. With `compact_rollouts`, `sfpo.model.sampler` samples in place of `generate`, where it does all that was asked.
    5. Training begins with new rollouts and no metrics, whatever an earlier `train()` of the same trainer left.
    6. A checkpoint that falls between two mini-batches waits for the last one. It holds `sfpo_state.json`: the rollouts so
       far and the state of the gate.
    7. `SlowFastFields` refuses the settings under which the passes would not share one objective, and turns dropout off.
       Without `args` the output folder is named after SFPO, and so is the method in the model card.
    8. Metrics. The host's are those of pass 0, except `step_time`, which counts every pass. Under `sfpo/` come the entropy
       at θ_0, Z, α and the gate's state, optimizer steps per rollout batch, rollouts so far, the share of different
       completions, drift, bytes of the copies of a step, GXPO's mean extrapolation, seconds for rollouts and for the
       update, and per pass the importance ratio, KL to θ_0, clip fraction, entropy and gradient norm.

    The departures from `RLOOTrainer` are the same. The configuration must carry `SlowFastFields`.

    Raises:
        ValueError: training runs on an engine whose weights SFPO does not know how to move.
    """

    args: Any
    _buffered_inputs: Any

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
        self.rollouts = 0
        """Completions sampled so far, over all processes."""
        host = Host.of(self)
        engine = engine_of(self)
        self._step_log = StepLog(self, host)
        self._sfpo_step = SFPOStep(self, engine, host, self._step_log)
        self._scorer = Scorer(self, host)
        self._rollouts = Rollouts(self, host, scored=self._sfpo_step.mini_batches > 1)
        self.add_callback(SlowFastHooks(self, engine, self._sfpo_step, self._step_log))

    @property
    def gate(self) -> EntropyGate | None:
        """What decides α, or None where α is the same in every step."""
        return self._sfpo_step.gate

    @property
    def batch_is_complete(self) -> bool:
        """Whether no step of a batch of rollouts is left to make, so that a checkpoint here loses none of them."""
        return self._sfpo_step.is_complete

    # ---- Rollouts -------------------------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if self._step_log.replaying:
            return generation_batch
        buffered = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self.model.training:
            if self._scorer.savings.regroup_rows and self._buffered_inputs is not buffered:
                size = min(self.args.gradient_accumulation_steps, self.args.steps_per_generation)
                self._buffered_inputs = regroup(self._buffered_inputs, size)
                inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
            self._sfpo_step.accumulate(inputs)
        return inputs

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> MicroBatch:
        output: MicroBatch
        if not self.model.training:
            output = super()._generate_and_score_completions(inputs)
            return output
        with self._step_log.timed_rollouts(), self._rollouts.making_batch():
            output = super()._generate_and_score_completions(inputs)
            self._rollouts.add_entropies(output)
            self._step_log.record("distinct_share", distinct_share(output, self._step_log.reduce))
        self.rollouts += len(inputs) * self.accelerator.num_processes
        return output

    # ---- Passes ---------------------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: nn.Module,
        inputs: MicroBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        loss: Tensor
        if not self.model.training:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return loss
        with self._scorer.of_loss(inputs) as scoring:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if scoring.scores is not None:
            logps, entropies = scoring.scores
            # Pass 0 scores π_old. The batch is the buffered one, so the later passes find it there.
            inputs.setdefault("old_per_token_logps", logps)
            inputs.setdefault("entropies_at_start", entropies)
            self._step_log.add_scores(inputs, logps, entropies, scoring.idle)
        return loss

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
        host_scores = (
            not self._scorer.savings.compact
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
                compute_entropy=compute_entropy or self._rollouts.awaits_scores,
                compute_aux_loss=compute_aux_loss,
                **multimodal,
            )
        else:
            rows = batch_size or len(input_ids)
            logps, entropies = self._scorer.score(model, input_ids, attention_mask, logits_to_keep, rows)
            aux_loss = None
        self._rollouts.note(entropies)
        self._scorer.note(logps, entropies)
        return logps, entropies, aux_loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._step_log.add_grad_norm(float(grad_norm))
        return grad_norm

    # ---- Checkpoints ----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            state = {"rollouts": self.rollouts} | self._sfpo_step.state_dict()
            (folder / STATE_FILE).write_text(json.dumps(state))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        # A checkpoint of plain GRPO has none: SFPO then starts from it with a fresh gate.
        if checkpoint is not None and (path := Path(checkpoint) / STATE_FILE).exists():
            state = json.loads(path.read_text())
            self.rollouts = state["rollouts"]
            self._sfpo_step.load_state_dict(state)


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
        completion_ids = self._rollouts.sample(prompt_ids, images, multimodal_fields)
        if completion_ids is None:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *args, **kwargs)
        return completion_ids, None


class SFPORLOOTrainer(SlowFastMixin, RLOOTrainer):
    """`trl.RLOOTrainer` with the slow-fast update: the same constructor, with `args` an `SFPORLOOConfig`."""

    args: SFPORLOOConfig
    _config_class = SFPORLOOConfig

    def _generate_single_turn(self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any) -> Any:
        completion_ids = self._rollouts.sample(prompt_ids, images, multimodal_fields)
        if completion_ids is None:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields)
        return completion_ids
