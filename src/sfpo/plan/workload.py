"""The work in one step of a run: rollouts, their lengths, passes, and the engine that holds the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sfpo.errors import UsageError
from sfpo.methods import GXPO, METHODS
from sfpo.nearest import unknown
from sfpo.settings import SlowFastSettings

ENGINES = ("ddp", "zero2", "zero3", "fsdp2", "lora")


def passes_and_copies(settings: Mapping[str, Any]) -> dict[str, int]:
    """The `inner_steps` and `copies` of a method: K fast passes and θ_0, or for GXPO two fast passes, θ_0, g_0 and Adam's moments."""
    if settings.get("method") != GXPO:
        return {"inner_steps": settings["inner_steps"], "copies": 1}
    restored = settings.get("gxpo_moments", METHODS[GXPO].defaults["gxpo_moments"]) == "restored"
    return {"inner_steps": 2, "copies": 4 if restored else 2}


@dataclass(frozen=True)
class Workload:
    """One batch of rollouts and its passes. Lengths are in tokens; counts are per device unless stated otherwise.

    Raises:
        UsageError: a value is out of range.
    """

    micro_batch: int
    """Completions in one forward and backward."""
    accumulation: int
    """Micro-batches in one optimizer step."""
    group_size: int
    prompt_length: float
    completion_length: float
    """The mean over completions."""
    longest_completion: float
    """The longest in a batch; sampling lasts until it has ended."""
    mini_batches: int = 1
    devices: int = 1
    inner_steps: int = SlowFastSettings.inner_steps
    copies: int = 1
    """Numbers that a step keeps for each trained weight until the reposition: θ_0, and what else GXPO keeps."""
    engine: str = "ddp"
    lora_rank: int = 16
    gradient_checkpointing: bool = False
    bf16: bool = True
    active_share: float = 1.0
    """Share of the groups with a non-zero advantage; compact passes skip the others."""
    distinct_share: float = 1.0
    """Share of these groups' tokens that remains when equal completions of a prompt count once, as in compact passes."""
    compact: bool = True
    """Passes skip padding, repetitions, and completions with zero advantage (`compact_passes` on one process)."""
    scores_first: bool = False
    """Whether π_old is scored before the passes: with several mini-batches, or to correct rollouts sampled by vLLM."""
    vllm_share: float | None = None
    """Share of a device's memory that a colocated vLLM keeps; 0 if vLLM runs on other devices, None without vLLM."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(unknown("engine", self.engine, ENGINES))
        for name in (
            "micro_batch",
            "accumulation",
            "group_size",
            "mini_batches",
            "devices",
            "inner_steps",
            "lora_rank",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("prompt_length", "completion_length"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)}")
        if self.longest_completion < self.completion_length:
            raise UsageError(
                f"the mean completion ({self.completion_length:g} tokens) cannot be longer than the longest "
                f"({self.longest_completion:g}): lower --completion_length"
            )
        for name in ("active_share", "distinct_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")

    @property
    def sequences(self) -> int:
        """Completions that one device samples and scores."""
        return self.micro_batch * self.micro_batches

    @property
    def micro_batches(self) -> int:
        """Forwards in one pass."""
        return self.accumulation * self.mini_batches

    @property
    def rollouts(self) -> int:
        """Completions that all devices sample together."""
        return self.sequences * self.devices

    @property
    def is_sharded(self) -> bool:
        """Whether each device holds only its share of the weights."""
        return self.engine in ("zero3", "fsdp2")

    @property
    def optimizer_shards(self) -> int:
        """Devices over which Adam's moments, masters and gradients are divided."""
        return 1 if self.engine in ("ddp", "lora") else self.devices
