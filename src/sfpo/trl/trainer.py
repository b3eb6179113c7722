"""TRL's trainers with the slow-fast update in place of theirs: what TRL calls, and nothing else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer, RLOOTrainer

from sfpo.checkpoints import STATE_FILE, steps_made
from sfpo.gate import EntropyGate
from sfpo.model.capabilities import Capabilities
from sfpo.model.noise import switch_off_noise
from sfpo.trl.checkpoint import CheckpointWriter, to_continue_from
from sfpo.trl.config import SFPOConfig, SFPORLOOConfig, SlowFastFields
from sfpo.trl.engines import engine_of
from sfpo.trl.hooks import SlowFastHooks
from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, regroup
from sfpo.trl.model_card import CardFacts, write_card
from sfpo.trl.rollouts import Rollouts, distinct_share
from sfpo.trl.scoring import Scorer
from sfpo.trl.self_check import ScoreCheck
from sfpo.trl.step import SFPOStep
from sfpo.trl.step_log import StepLog

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
       the forward of all but the first (with several processes, every pass but the first). What the model does not allow
       (`sfpo.model.capabilities`) is left out, and what is done is checked against plain forwards before it counts
       (`self_check.py`).
    4. With `compact_rollouts`, `sfpo.model.sampler` samples in place of `generate`, where it does all that was asked by the
       settings and the model's `generation_config`.
    5. Training begins with new rollouts and no metrics, whatever an earlier `train()` of the same trainer left.
    6. A checkpoint that falls between two mini-batches waits for the last one. It holds `sfpo_state.json`: the rollouts so
       far, the state of the gate and the sizes of its parts. It is complete or not there (`checkpoint.py`). To continue from
       True takes the newest complete one; one that lacks a part is refused. After the last step nothing more is trained.
    7. `SlowFastFields` refuses the settings under which the passes would not share one objective. All dropout is off, and so
       are skipped layers and router jitter (`sfpo.model.noise`).
       Without `args` the output folder is named after SFPO. The model card says how the model was made (`model_card.py`).
    8. Metrics. The host's are those of pass 0, except `step_time`, which counts every pass; its means over micro-batches are
       means over other micro-batches than TRL's where completions have changed theirs. Under `sfpo/` come the entropy
       at θ_0, Z, α and the gate's state, optimizer steps per rollout batch, rollouts so far, the share of different
       completions, drift, bytes of the copies of a step, GXPO's mean extrapolation, seconds for rollouts and for the
       update, and per pass the importance ratio, KL to θ_0, clip fraction, entropy and gradient norm.

    The departures from `RLOOTrainer` are the same. The configuration must carry `SlowFastFields`.

    Raises:
        ValueError: training runs on an engine whose weights SFPO does not know how to move, the model draws random numbers
            while it trains, Unsloth has replaced TRL's trainer, or training is to continue from a checkpoint that lacks a part.
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
        if any(kind.__name__.startswith("Unsloth") for kind in type(self).__mro__):
            raise ValueError(
                "SFPO does not run on Unsloth's trainers, whose loss leaves out the log-probabilities that its passes start "
                "from: train without importing unsloth, with adapters by peft_config"
            )
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = self._config_class(f"{name.split('/')[-1]}-SFPO")
        if not isinstance(args, SlowFastFields):
            raise ValueError(
                f"{type(self).__name__} takes its settings from {self._config_class.__name__}, got {type(args).__name__}"
            )
        super().__init__(model, reward_funcs, args, *more, **keywords)
        switch_off_noise(self.model)
        self.rollouts = 0
        """Completions sampled so far, over all processes."""
        self.card_facts = _facts_of(self.model)
        """What the model card says besides what the trainer knows; a program that knows more may replace it."""
        host = Host.of(self)
        capabilities = Capabilities.of(self.model)
        engine = engine_of(self)
        self._step_log = StepLog(self, host)
        self._sfpo_step = SFPOStep(self, engine, host, self._step_log)
        self._scorer = Scorer(self, host, capabilities)
        self._score_check = ScoreCheck(self, self._scorer)
        self._rollouts = Rollouts(self, host, capabilities, scored=self._sfpo_step.mini_batches > 1)
        self._checkpoints = CheckpointWriter(self, lambda: {"rollouts": self.rollouts} | self._sfpo_step.state_dict())
        self._steps_before = 0
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
        has_text_alone = all(value is None for value in multimodal.values())
        if has_text_alone and model is not self.ref_model and not self._step_log.replaying:
            self._score_check.before_scoring(model, input_ids, attention_mask, logits_to_keep)
        host_scores = (
            not has_text_alone
            or not self._scorer.scores(model, input_ids.shape[1])
            or model is self.ref_model  # its head gives no entropies
            or not attention_mask[:, -logits_to_keep:].any()  # a loss of no token still needs a graph
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

    def train(self, resume_from_checkpoint: str | bool | None = None, *more: Any, **keywords: Any) -> Any:
        folder = Path(self.args.output_dir)
        checkpoint = to_continue_from(resume_from_checkpoint, folder, self.args.world_size)
        self._steps_before = 0 if checkpoint is None else steps_made(checkpoint)
        self._checkpoints.clean(folder)
        return super().train(None if checkpoint is None else str(checkpoint), *more, **keywords)

    def set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        epochs, *others, max_steps = super().set_initial_training_values(args, dataloader)
        # The trainer would make a step more before it looks at how many there are to be.
        return (0 if self._steps_before >= max_steps else epochs, *others, max_steps)

    def total_steps(self) -> int:
        """How many steps the settings and the data make, from the first."""
        steps: int = super().set_initial_training_values(self.args, self.get_train_dataloader())[-1]
        return steps

    def _get_output_dir(self, trial: Any) -> str:
        return self._checkpoints.inside(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        place = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with self._checkpoints.writing(place):
            super()._save_checkpoint(model, trial)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(place))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # Not while it is being written: pushing goes on in the background, and the folder is renamed.
        if not self._checkpoints.is_writing:
            super()._push_from_checkpoint(checkpoint_folder)

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """Write `README.md` into the output folder: TRL's tags, and what made the model."""
        name = model_name or Path(self.args.output_dir).name
        super().create_model_card(name, dataset_name, tags)
        if self.is_world_process_zero():
            write_card(self, self.card_facts, name)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        # Only a checkpoint of plain GRPO gets here without one: SFPO then starts from it with a fresh gate.
        if checkpoint is not None and (path := Path(checkpoint) / STATE_FILE).exists():
            state = json.loads(path.read_text())
            self.rollouts = state["rollouts"]
            self._sfpo_step.load_state_dict(state)


def _facts_of(model: Any) -> CardFacts:
    """What a model's configuration says of where it came from."""
    name = model.config._name_or_path or ""
    is_on_hub = bool(name) and not Path(name).exists()
    return CardFacts(name if is_on_hub else "a local model", is_on_hub)


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
