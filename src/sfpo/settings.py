"""The slow-fast update's settings that the integrations share: names, defaults, help and ranges."""

from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from sfpo.gate import EntropyGate
from sfpo.trust_region import TrustRegion

# The defaults of the gate and of the trust region are those of the settings.
_GATE: dict[str, Any] = {name: parameter.default for name, parameter in signature(EntropyGate).parameters.items()}
_REGION: dict[str, Any] = {name: parameter.default for name, parameter in signature(TrustRegion).parameters.items()}

AUTO = "auto"
"""α as a rule, which a `TrustRegion` is."""
_ONLY_WITH_AUTO = ("kl_budget", "alpha_max")
_ONLY_WITH_GATE = ("gate_sides", "entropy_window", "entropy_threshold")


def without_effect(alpha: Any, gate: Any) -> dict[str, str]:
    """The settings that change nothing with this α and this gate, each with the reason and what would give it an effect."""
    found: dict[str, str] = {}
    if alpha != AUTO:
        found |= dict.fromkeys(_ONLY_WITH_AUTO, f"alpha is {alpha}: add --alpha {AUTO}")
    if gate in ("off", False):  # YAML makes false of a bare off
        found |= dict.fromkeys(_ONLY_WITH_GATE, "the gate is off: add --gate exit")
    return found


@dataclass
class SlowFastSettings:
    """How an integration makes its SFPO steps."""

    inner_steps: int = field(
        default=3, metadata={"help": "K, the fast passes over each batch of rollouts before the slow one."}
    )
    # Parsers of command lines take the middle type, which must read both the number and the word.
    alpha: float | str | None = field(
        default=_GATE["alpha"],
        metadata={
            "help": "Share of the fast trajectory that the reposition keeps, from 0 (plain GRPO) to 1 (K+1 passes), or "
            "'auto': chosen in every step so that the policy moves by kl_budget."
        },
    )
    kl_budget: float = field(
        default=_REGION["kl_budget"],
        metadata={
            "help": "With alpha=auto: how far the reposition goes from the policy that sampled, in nats a token of the "
            "completions that have an advantage; multiplied by their share."
        },
    )
    alpha_max: float = field(
        default=_REGION["alpha_max"],
        metadata={"help": "With alpha=auto: the largest α; above 1 it extrapolates the fast trajectory."},
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
        """Read words and numbers as they are meant, and refuse what is out of range.

        Raises:
            ValueError: a setting outside its range.
        """
        if isinstance(self.snapshot_device, str) and self.snapshot_device.lower() == "none":
            self.snapshot_device = None
        if str(self.gate) == "False":  # what YAML makes of a bare off
            self.gate = "off"
        if self.alpha != AUTO:
            try:
                self.alpha = float(self.alpha)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                raise ValueError(f"alpha must be a number in [0, 1] or '{AUTO}', got {self.alpha!r}") from None
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps (K) must be at least 1, got {self.inner_steps}")
        if self.gate not in ("exit", "reversible", "off"):
            raise ValueError(f"gate must be 'exit', 'reversible' or 'off', got {self.gate!r}")
        self.make_gate()
        # Made even with a fixed α, so that a setting out of its range is refused either way.
        TrustRegion(self.kl_budget, self.alpha_max)

    def make_trust_region(self, mini_batches: int) -> TrustRegion | None:
        """The rule that chooses α where the gate is open, for passes of M mini-batches; None where α is a number."""
        return TrustRegion(self.kl_budget, self.alpha_max, mini_batches) if self.alpha == AUTO else None

    def make_gate(self) -> EntropyGate | None:
        """The gate these settings describe, or None when it is off."""
        settings: dict[str, Any] = {
            "alpha": 1.0 if self.alpha == AUTO else self.alpha,
            "window": self.entropy_window,
            "threshold": self.entropy_threshold,
            "sides": self.gate_sides,
        }
        # Made even when it is off, so that a setting out of its range is refused either way.
        gate = EntropyGate(**settings, mode="reversible" if self.gate == "reversible" else "exit")
        return None if self.gate == "off" else gate


def ask_gate(gate: EntropyGate | None, entropy: float | None) -> dict[str, float]:
    """Give the gate, if there is one, the entropy of the policy at θ_0; `gate.closed` is then its answer.

    A batch whose completions are all masked has no entropy. It tells the gate nothing: its window and its last verdict stand.

    Returns what every integration logs of it under `sfpo/`: `entropy`, `gate_closed` (0 or 1), and once the window is full
    `z`, `entropy_mean` and `entropy_std`.

    Args:
        gate: None where it is off.
        entropy: H_s, in nats a token; None where no token counts or, without a gate, where nobody measured it.

    Raises:
        ValueError: the gate is given an entropy that is NaN or infinite.
    """
    metrics = {} if entropy is None else {"entropy": entropy}
    if gate is None:
        return metrics
    if entropy is None:
        return {"gate_closed": float(gate.closed)}
    gate.update(entropy)
    metrics["gate_closed"] = float(gate.closed)
    band = {"z": gate.z, "entropy_mean": gate.mean, "entropy_std": gate.std}
    return metrics | {name: value for name, value in band.items() if value is not None}
