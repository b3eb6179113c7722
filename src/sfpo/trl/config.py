"""The settings that SFPO adds to TRL's own."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from trl import GRPOConfig, RLOOConfig

from sfpo import gxpo
from sfpo.kl_stop import KLStop
from sfpo.settings import SlowFastSettings
from sfpo.trl.engines import FP16, refused_optim

if TYPE_CHECKING:
    _HostConfig = Any
else:
    _HostConfig = object

REMAX = "remax"
"""The estimator of advantages that compares with a greedy completion."""
GREEDY = "is_greedy"
"""The column by which reward functions tell ReMax's greedy completions from samples."""


@dataclass
class SlowFastFields(SlowFastSettings, _HostConfig):
    """SFPO's settings, for any TRL configuration of a trainer that samples its own rollouts.

    Raises:
        ValueError: a setting outside its range, or one of the host's that contradicts SFPO.
    """

    slow_correction: bool = field(
        default=True,
        metadata={
            "help": "Whether a slow pass follows the reposition. Without it the step is Lookahead, an ablation."
        },
    )
    target_kl: float | None = field(
        default=None,
        metadata={
            "help": "With alpha=1, which is multi-epoch GRPO: leave out the optimizer steps of a batch from the first whose "
            "KL to the policy that sampled is above 1.5 times this, in nats a token."
        },
    )
    gxpo_moments: str | None = field(
        default=None,
        metadata={
            "help": "GXPO's steps in place of SFPO's: two fast passes, extrapolated to inner_steps virtual ones. Adam's moments "
            "are 'restored' to those before the fast passes when the slow pass is made, as GXPO's authors do, or are "
            "'running' on.",
            "choices": list(gxpo.MOMENTS),
        },
    )
    compact_passes: bool = field(
        default=True,
        metadata={
            "help": "Make the passes cheap: leave out completions without a gradient, repeated completions and "
            "prompts, padding and prompt logits (with several processes, repeated completions and, from the second pass on, "
            "those without a gradient). Same loss and gradient up to summation order; False scores batches just as TRL does."
        },
    )
    compact_rollouts: bool = field(
        default=True,
        metadata={
            "help": "On a CPU, sample rollouts with shared prompts and without the sequences that have ended, where the model "
            "and the settings allow it; False leaves sampling to TRL."
        },
    )
    self_check_fatal: bool = field(
        default=False,
        metadata={
            "help": "End training where the self-check at its start finds that compact passes or rollouts do not give the "
            "model's own probabilities, or that two equal passes differ; False says so in one line, leaves these to TRL and goes on."
        },
    )
    # Passes with different dropout masks do not share an objective.
    disable_dropout: bool = field(
        default=True, metadata={"help": "Dropout is always off under SFPO: its passes must share one objective."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_slow_fast()
        self._check_snapshot_device()
        if self.target_kl is not None:
            KLStop(self.target_kl)
            if self.alpha != 1.0:
                raise ValueError(
                    f"target_kl={self.target_kl} stops the epochs of multi-epoch GRPO, alpha=1, but alpha is {self.alpha}: "
                    "leave target_kl out, or for a KL budget of SFPO set alpha=auto and kl_budget"
                )
        if self.gxpo_moments is not None:
            self._check_gxpo(self.gxpo_moments)
        if self.num_iterations != 1:
            raise ValueError(
                f"num_iterations={self.num_iterations} cannot be combined with SFPO, which makes its own "
                f"{self.inner_steps + 1} passes over each batch of rollouts: leave num_iterations at 1 and set inner_steps"
            )
        if not self.disable_dropout:
            raise ValueError("disable_dropout=False cannot be combined with SFPO: its passes must share one objective")
        if self.neftune_noise_alpha is not None:
            raise ValueError(
                f"neftune_noise_alpha={self.neftune_noise_alpha} cannot be combined with SFPO: its passes must share one "
                "objective, and NEFTune's noise would differ between them"
            )
        if self.fp16:
            raise ValueError(FP16)
        if (why := refused_optim(self.optim.value)) is not None:
            raise ValueError(why)
        if isinstance(self, GRPOConfig) and self.use_adaptive_entropy:
            raise ValueError(
                "use_adaptive_entropy=True cannot be combined with SFPO: its passes must share one objective, and the "
                "controller would change the entropy coefficient between them"
            )
        per_step, per_rollout = self.gradient_accumulation_steps, self.steps_per_generation
        if per_rollout % per_step and per_step % per_rollout:
            raise ValueError(
                f"steps_per_generation ({per_rollout}) and gradient_accumulation_steps ({per_step}) must divide one "
                "another under SFPO, so that every pass is a whole number of optimizer steps"
            )

    def _check_snapshot_device(self) -> None:
        if self.snapshot_device is not None:
            try:
                torch.device(self.snapshot_device)
            except RuntimeError:
                raise ValueError(
                    f"snapshot_device must be 'cpu', another device or 'none', got {self.snapshot_device!r}"
                ) from None

    def _check_gxpo(self, moments: str) -> None:
        if not isinstance(self.alpha, float):
            raise ValueError(f"alpha={self.alpha} is SFPO's: GXPO takes a number in [0, 1]")
        gxpo.check(self.inner_steps, self.alpha, moments)
        if not self.slow_correction or self.target_kl is not None:
            raise ValueError("slow_correction=False and target_kl belong to other methods than GXPO: leave them out")

    @property
    def passes(self) -> int:
        """The passes over each batch of rollouts where the gate is open."""
        fast = self.inner_steps if self.gxpo_moments is None else gxpo.FAST_PASSES
        return 1 if self.alpha == 0 else fast + int(self.slow_correction)


@dataclass
class SFPOConfig(SlowFastFields, GRPOConfig):
    """`trl.GRPOConfig` with SFPO's settings; every field of both is an argument and a command-line flag.

    Raises:
        ValueError: as `SlowFastFields`, or a setting that contradicts the estimator of advantages.
    """

    advantage_estimator: str = field(
        default="grpo",
        metadata={
            "help": "What a completion's reward is compared with: its group's mean ('grpo', as TRL does it) or the reward of the "
            "greedy completion of its prompt, one more rollout a prompt ('remax', arXiv 2310.10505). ReMax divides by no "
            "standard deviation (scale_rewards becomes none), and takes num_generations=1, too.",
            "choices": ["grpo", "remax"],
        },
    )

    def __post_init__(self) -> None:
        if self.advantage_estimator != REMAX:
            if self.advantage_estimator != "grpo":
                raise ValueError(f"advantage_estimator must be 'grpo' or '{REMAX}', got {self.advantage_estimator!r}")
            super().__post_init__()
            return
        inherited: Any = self  # fields whose types are not known here
        group: int = self.num_generations
        if group < 1:
            raise ValueError(f"num_generations must be at least 1, got {group}")
        # TRL refuses groups of one, whose mean is no baseline. ReMax has another.
        inherited.num_generations = 2 if group == 1 else group
        try:
            super().__post_init__()
        except ValueError as error:
            if group == 1 and "divisible by num_generations" in str(error):
                raise ValueError(
                    "num_generations=1 needs an even number of completions in every batch, of training and of evaluation"
                ) from error
            raise
        inherited.num_generations = group
        self._check_remax()
        inherited.scale_rewards = "none"

    def _check_remax(self) -> None:
        if self.multi_objective_aggregation != "sum_then_normalize" or self.scale_rewards == "batch":
            raise ValueError(
                f"advantage_estimator='{REMAX}' takes sums of rewards as they are: leave multi_objective_aggregation and "
                "scale_rewards out"
            )
        if self.use_transformers_continuous_batching:
            raise ValueError(
                f"advantage_estimator='{REMAX}' was never tested with use_transformers_continuous_batching=True: leave it out"
            )
        if (rows := self.per_device_train_batch_size * self.steps_per_generation) % self.num_generations:
            raise ValueError(
                f"advantage_estimator='{REMAX}' needs whole groups in each process, and {rows} completions are not made of "
                f"groups of {self.num_generations}: make per_device_train_batch_size times steps_per_generation a multiple of "
                "num_generations"
            )

    @property
    def rollouts_per_prompt(self) -> int:
        """Completions sampled for each prompt, ReMax's greedy one included."""
        group: int = self.num_generations
        return group + int(self.advantage_estimator == REMAX)


@dataclass
class SFPORLOOConfig(SlowFastFields, RLOOConfig):
    """`trl.RLOOConfig` with SFPO's settings."""
