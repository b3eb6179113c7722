"""The slow-fast update's settings that the integrations share: names, defaults, help and ranges."""

from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from sfpo.gate import EntropyGate

_GATE: dict[str, Any] = {name: parameter.default for name, parameter in signature(EntropyGate).parameters.items()}
"""The gate's own defaults, which are those of the settings."""


@dataclass
class SlowFastSettings:
    """How an integration makes its SFPO steps."""

    inner_steps: int = field(
        default=3, metadata={"help": "K, the fast passes over each batch of rollouts before the slow one."}
    )
    alpha: float = field(
        default=_GATE["alpha"],
        metadata={
            "help": "Share of the fast trajectory that the reposition keeps, from 0 (plain GRPO) to 1 (K+1 passes)."
        },
    )
    gate: str = field(
        default=_GATE["mode"],
        metadata={
            "help": "What happens when the policy's entropy leaves its rolling band: 'exit' (plain GRPO from then on), "
            "'reversible' (plain GRPO while it is outside) or 'off'.",
            "choices": ["exit", "reversible", "off"],
        },
    )
    gate_sides: str = field(
        default=_GATE["sides"],
        metadata={
            "help": "Which side of the band closes the gate: 'two' (|Z|, the paper) or 'upper' (Z, the authors' code).",
            "choices": ["two", "upper"],
        },
    )
    entropy_window: int = field(
        default=_GATE["window"],
        metadata={"help": "How many steps the entropy's band is computed from; 30 in the paper."},
    )
    entropy_threshold: float = field(
        default=_GATE["threshold"],
        metadata={"help": "Half-width of the entropy's band, in standard deviations; 1 in the paper."},
    )
    snapshot_device: str | None = field(
        default="cpu",
        metadata={
            "help": "Where the one copy of the weights lives during a step: 'cpu' adds nothing to an accelerator's "
            "peak memory, 'none' keeps it beside the weights."
        },
    )

    def check_slow_fast(self) -> None:
        """Read the words "none" and "off" as they are meant, and refuse what is out of range.

        Raises:
            ValueError: a setting outside its range.
        """
        if isinstance(self.snapshot_device, str) and self.snapshot_device.lower() == "none":
            self.snapshot_device = None
        if str(self.gate) == "False":  # what YAML makes of a bare off
            self.gate = "off"
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps (K) must be at least 1, got {self.inner_steps}")
        if self.gate not in ("exit", "reversible", "off"):
            raise ValueError(f"gate must be 'exit', 'reversible' or 'off', got {self.gate!r}")
        self.make_gate()

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
