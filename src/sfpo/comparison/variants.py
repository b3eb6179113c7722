"""What a comparison runs: every method, with settings of its own, at every combination of the swept settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from sfpo.methods import GRPO, METHODS
from sfpo.model.embedded import EMBEDDED
from sfpo.options import config_of, flags
from sfpo.records.settings import chosen_settings, settings_of_run
from sfpo.settings import without_effect


@dataclass(frozen=True)
class Variant:
    """A method with what is set for it; `baseline` is the name of the GRPO variant that it is to be compared with."""

    name: str
    method: str
    settings: dict[str, str]
    baseline: str

    def arguments_with(self, common: list[str]) -> list[str]:
        """What `sfpo train` is given for it, of the options for all runs those that its method has a use for."""
        method = METHODS[self.method]
        useless = self.without_effect(common)
        kept = [word for name, words in flags(common) if method.has(name) and name not in useless for word in words]
        config = config_of(common)
        # A file for all runs may set what defines this method: a flag wins over it.
        of_file = config.keys() if config.get("method", self.method) == self.method else ()
        own = {name: str(value) for name, value in method.sets.items() if name in of_file} | self.settings
        return [
            *kept,
            "--method",
            self.method,
            *(part for name, value in own.items() for part in (f"--{name}", value)),
        ]

    def without_effect(self, common: Sequence[str]) -> Mapping[str, str]:
        """The settings that change nothing with the α and the gate of these runs; each with the reason."""
        return _useless(self.method, self.settings, common)

    def settings_with(self, common: Sequence[str]) -> dict[str, Any]:
        """The settings of its runs that are chosen, and the defaults of the update's and of the model's."""
        return _settings(self.method, self.settings, common)


def make_variants(
    methods: list[tuple[str, dict[str, str]]], sweep: dict[str, list[str]], common: Sequence[str] = ()
) -> list[Variant]:
    """Every method, each with settings of its own, at every combination of swept values that makes a difference to it.

    `common` are the options for all runs. GRPO comes first. A variant's baseline is the (first) GRPO with the same swept
    settings, as far as they concern GRPO.
    """
    variants: dict[str, Variant] = {}
    grpo = next((own for method, own in methods if method == GRPO), {})
    for method, own in sorted(methods, key=lambda entry: entry[0] != GRPO):
        for values in product(*sweep.values()):
            swept = dict(zip(sweep, values, strict=True))
            # What was set for one method by name is kept even where it has no effect: the run refuses it.
            active = _active(method, swept | own, common) | {n: v for n, v in own.items() if METHODS[method].has(n)}
            name = _name(method, active)
            variants[name] = Variant(name, method, active, _name(GRPO, _active(GRPO, swept | grpo, common)))
    return list(variants.values())


def _active(method: str, settings: dict[str, str], common: Sequence[str]) -> dict[str, str]:
    useless = _useless(method, settings, common)
    return {name: value for name, value in settings.items() if METHODS[method].has(name) and name not in useless}


def _useless(method: str, settings: Mapping[str, str], common: Sequence[str]) -> Mapping[str, str]:
    """Settings that a method has a use for, but not with the α and the gate of these runs; each with the reason."""
    chosen = _settings(method, settings, common)
    return without_effect(chosen["alpha"], chosen["gate"])


def _settings(method: str, settings: Mapping[str, str], common: Sequence[str]) -> dict[str, Any]:
    own = chosen_settings(method, settings, common, config_of(common))
    return settings_of_run({"model": EMBEDDED} | own)


def _name(method: str, active: dict[str, str]) -> str:
    """Also the name of its folder: `sfpo,inner_steps=5`."""
    return ",".join([method, *(f"{name}={value}" for name, value in active.items())])
