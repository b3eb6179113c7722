"""The settings of a run, read from its own folder or from that of its comparison; needs no torch."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sfpo.methods import METHODS
from sfpo.model.embedded import EMBEDDED
from sfpo.model.embedded.recipe import EMBEDDED_RECIPE
from sfpo.options import given, value_of
from sfpo.settings import SlowFastSettings


def settings_of_run(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a run's own `config.yaml`, and the defaults of those that it omits."""
    of_model = EMBEDDED_RECIPE if configuration.get("model") == EMBEDDED else {}
    return {f.name: f.default for f in fields(SlowFastSettings)} | of_model | dict(configuration)


def settings_of_variant(
    comparison: Mapping[str, Any], variant: Mapping[str, Any], configuration: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a variant's runs: its own override the comparison's, and these override the defaults.

    Args:
        comparison: the content of `comparison.json`.
        variant: the variant's entry in it.
        configuration: the content of the comparison's `--config` file, empty if it had none.
    """
    method = variant["method"]
    # Settings that the file holds only because of its own method do not apply to another method.
    others = _sets(configuration.get("method"))
    of_file = {name: value for name, value in configuration.items() if name not in others or others[name] != value}
    common = {"model": comparison["model"], "task": comparison["task"], **given(comparison["train"])}
    own = {name: value_of(value) for name, value in variant["settings"].items()}
    return settings_of_run({**of_file, **common, **own, "method": method, **_sets(method)})


def _sets(method: Any) -> Mapping[str, Any]:
    """The settings that a method fixes; none for a removed method or a broken record."""
    return METHODS[method].sets if isinstance(method, str) and method in METHODS else {}
