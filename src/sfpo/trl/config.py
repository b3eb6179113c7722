"""The settings that SFPO adds to TRL's own."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trl import GRPOConfig, RLOOConfig

from sfpo.gate import EntropyGate

if TYPE_CHECKING:
    _HostConfig = Any
else:
    _HostConfig = object


@dataclass
class SlowFastFields(_HostConfig):
    """SFPO's settings, for any TRL configuration of a trainer that samples its own rollouts.

    Raises:
        ValueError: a setting outside its range, or one of the host's that contradicts SFPO.
    """

    inner_steps: int = field(
        default=3, metadata={"help": "K, the fast passes over each batch of rollouts before the slow one."}
    )
    alpha: float = field(
        default=0.8,
        metadata={
            "help": "Share of the fast trajectory that the reposition keeps, from 0 (plain GRPO) to 1 (K+1 passes)."
        },
    )
    slow_correction: bool = field(
        default=True,
        metadata={
            "help": "Whether a slow pass follows the reposition. Without it the step is Lookahead, an ablation."
        },
    )
    gate: str = field(
        default="exit",
        metadata={
            "help": "What happens when the policy's entropy leaves its rolling band: 'exit' (plain GRPO from then on), "
            "'reversible' (plain GRPO while it is outside) or 'off'.",
            "choices": ["exit", "reversible", "off"],
        },
    )
    gate_sides: str = field(
        default="two",
        metadata={
            "help": "Which side of the band closes the gate: 'two' (|Z|, the paper) or 'upper' (Z, the authors' code).",
            "choices": ["two", "upper"],
        },
    )
    entropy_window: int = field(default=30, metadata={"help": "How many steps the entropy's band is computed from."})
    entropy_threshold: float = field(
        default=1.0, metadata={"help": "Half-width of the entropy's band, in standard deviations."}
    )
    snapshot_device: str | None = field(
        default="cpu",
        metadata={
            "help": "Where the one copy of the weights lives during a step: 'cpu' adds nothing to an accelerator's "
            "peak memory, 'none' keeps it beside the weights."
        },
    )
    compact_passes: bool = field(
        default=True,
        metadata={
            "help": "Make the passes cheap: leave out completions without a gradient, padding, repeated prompts and "
            "prompt logits. Same loss and gradient up to summation order; False, like several processes, scores batches "
            "just as TRL does."
        },
    )
    compact_rollouts: bool = field(
        default=True,
        metadata={
            "help": "Sample rollouts with shared prompts and without the sequences that have ended, where the model and "
            "the settings allow it; False leaves sampling to TRL."
        },
    )
    # Passes with different dropout masks do not share an objective.
    disable_dropout: bool = field(
        default=True, metadata={"help": "Dropout is always off under SFPO: its passes must share one objective."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.snapshot_device, str) and self.snapshot_device.lower() == "none":
            self.snapshot_device = None
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps (K) must be at least 1, got {self.inner_steps}")
        if self.gate not in ("exit", "reversible", "off"):
            raise ValueError(f"gate must be 'exit', 'reversible' or 'off', got {self.gate!r}")
        self.make_gate()
        if self.num_iterations != 1:
            raise ValueError(
                f"num_iterations={self.num_iterations} cannot be combined with SFPO, which makes its own "
                f"{self.inner_steps + 1} passes over each batch of rollouts: leave num_iterations at 1 and set inner_steps"
            )
        if not self.disable_dropout:
            raise ValueError("disable_dropout=False cannot be combined with SFPO: its passes must share one objective")
        if getattr(self, "use_adaptive_entropy", False):
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

    def make_gate(self) -> EntropyGate | None:
        """The gate these settings describe, or None when it is off."""
        settings: dict[str, Any] = {
            "alpha": self.alpha,
            "window": self.entropy_window,
            "threshold": self.entropy_threshold,
            "sides": self.gate_sides,
        }
        # Made even when it is off, so that a setting out of its range is refused either way.
        gate = EntropyGate(**settings, mode="reversible" if self.gate == "reversible" else "exit")
        return None if self.gate == "off" else gate


@dataclass
class SFPOConfig(SlowFastFields, GRPOConfig):
    """`trl.GRPOConfig` with SFPO's settings; every field of both is an argument and a command-line flag."""


@dataclass
class SFPORLOOConfig(SlowFastFields, RLOOConfig):
    """`trl.RLOOConfig` with SFPO's settings."""
