"""The settings of a run, read from its own folder or from that of its comparison; needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sfpo.methods import METHODS, Method
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
    chosen = chosen_settings(variant["method"], variant["settings"], comparison["train"], configuration)
    return settings_of_run(chosen | {"model": comparison["model"], "task": comparison["task"]})


def chosen_settings(
    name: str, own: Mapping[str, str], common: Sequence[str], configuration: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a method's runs that are not the defaults of all runs.

    Args:
        name: the method's.
        own: what is set for these runs alone, as text.
        common: the flags for all runs.
        configuration: the content of the `--config` file for all runs, empty if there is none.
    """
    method = _method(name)
    of_file = method.of_file(configuration, _method(configuration.get("method", name)))
    of_all = {setting: value for setting, value in given(common).items() if method.has(setting)}
    of_variant = {setting: value_of(value) for setting, value in own.items()}
    return {**method.defaults, **of_file, **of_all, **of_variant, **method.sets, "method": name}


def _method(name: Any) -> Method:
    """Records may be of a method that is gone, or broken."""
    return METHODS[name] if isinstance(name, str) and name in METHODS else Method("unknown")
