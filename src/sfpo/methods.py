"""The methods that `sfpo train` and `sfpo compare` know, as settings of the one trainer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sfpo.errors import UsageError
from sfpo.nearest import unknown


@dataclass(frozen=True)
class Method:
    """What makes a method.

    Args:
        what: a few words for help texts.
        sets: settings that define the method. Other values of them contradict it.
        defaults: settings whose defaults are others in this method.
        ignores: settings that change nothing in it.
    """

    what: str
    sets: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    ignores: frozenset[str] = frozenset()

    def has(self, setting: str) -> bool:
        """Whether other values of a setting make another run of this method."""
        return setting not in self.sets and setting not in self.ignores

    def is_defined_by(self, setting: str, value: Any) -> bool:
        """Whether the method itself sets a setting to this value."""
        if setting not in self.sets:
            return False
        own = self.sets[setting]
        return bool(own == value) or (own == "off" and value is False)  # what YAML makes of a bare off

    def of_file(self, configuration: Mapping[str, Any], written_for: "Method") -> dict[str, Any]:
        """What a configuration sets for this method, where it was written for that one.

        Left out is what this method sets or has no use for, what defines the other one, settings that either of the two has
        a default of its own for, since they mean something else in the other, and nulls in place of this method's defaults.
        """
        return {
            setting: value
            for setting, value in configuration.items()
            if self.has(setting)
            and (written_for is self or not written_for._has_own(setting, value))
            and not (setting in self.defaults and (value is None or written_for is not self))
        }

    def _has_own(self, setting: str, value: Any) -> bool:
        """Whether a setting of a configuration for this method says nothing about other methods."""
        return setting in self.defaults or self.is_defined_by(setting, value)


_BAND = frozenset({"gate_sides", "entropy_window", "entropy_threshold"})
_REGION = frozenset({"kl_budget", "alpha_max"})
_GXPO = frozenset({"gxpo_moments"})

GRPO = "grpo"
GXPO = "gxpo"
DEFAULT_METHOD = "sfpo"

METHODS: dict[str, Method] = {
    "sfpo": Method("K fast passes, the reposition and the slow pass", ignores=_GXPO | {"target_kl"}),
    GRPO: Method(
        "one pass a batch of rollouts",
        sets={"alpha": 0.0, "gate": "off"},
        ignores=_BAND | _REGION | _GXPO | {"inner_steps", "slow_correction", "target_kl"},
    ),
    "multi_epoch": Method(
        "the same K+1 passes without the reposition, with target_kl as long as the KL allows",
        sets={"alpha": 1.0, "gate": "off", "slow_correction": True},
        ignores=_BAND | _REGION | _GXPO,
    ),
    "lookahead": Method(
        "K passes and the reposition without the slow pass",
        sets={"slow_correction": False},
        ignores=_GXPO | {"target_kl"},
    ),
    GXPO: Method(
        "two fast passes, extrapolated to K, the reposition and the slow pass (arXiv 2605.06755)",
        sets={"slow_correction": True},
        defaults={"gxpo_moments": "restored", "inner_steps": 5, "alpha": 0.5},
        ignores=_REGION | {"target_kl"},
    ),
}


def method_named(name: object) -> Method:
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise UsageError(unknown("method", name, METHODS))
    return METHODS[name]


def refuse_contradiction(method: str, setting: str, value: Any, written: str) -> None:
    """Refuse a setting that is not the method's to choose.

    Args:
        value: what was asked for; the value that the method sets itself is allowed.
        written: how the user wrote it, such as "--alpha 0.5".

    Raises:
        UsageError: the method sets another value, or the setting changes nothing in it.
    """
    own = METHODS[method]
    if own.has(setting) or own.is_defined_by(setting, value):
        return
    why = f"sets {setting} to {own.sets[setting]}" if setting in own.sets else f"has no use for {setting}"
    others = ", ".join(name for name, other in METHODS.items() if other.has(setting))
    raise UsageError(
        f"{written} has no effect, since method {method} {why}: leave it out, or choose another method ({others})"
    )
