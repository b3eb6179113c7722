"""What a comparison runs: every method, with settings of its own, at every combination of the swept settings."""

from dataclasses import dataclass
from itertools import product

from sfpo.methods import GRPO, METHODS
from sfpo.options import config_of, flags


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
        kept = [word for name, words in flags(common) if method.has(name) for word in words]
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


def make_variants(methods: list[tuple[str, dict[str, str]]], sweep: dict[str, list[str]]) -> list[Variant]:
    """Every method, each with settings of its own, at every combination of swept values that makes a difference to it.

    GRPO comes first. A variant's baseline is the (first) GRPO with the same swept settings, as far as they concern GRPO.
    """
    variants: dict[str, Variant] = {}
    grpo = next((own for method, own in methods if method == GRPO), {})
    for method, own in sorted(methods, key=lambda entry: entry[0] != GRPO):
        for values in product(*sweep.values()):
            swept = dict(zip(sweep, values, strict=True))
            settings = swept | own
            name = _name(method, settings)
            variants[name] = Variant(name, method, _active(method, settings), _name(GRPO, swept | grpo))
    return list(variants.values())


def _active(method: str, settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if METHODS[method].has(name)}


def _name(method: str, settings: dict[str, str]) -> str:
    """Also the name of its folder: `sfpo,inner_steps=5`."""
    return ",".join([method, *(f"{name}={value}" for name, value in _active(method, settings).items())])
