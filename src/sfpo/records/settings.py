"""The settings that a run was made with, from what its folder or its comparison's says; needs no torch."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sfpo.methods import METHODS, Method
from sfpo.model.embedded import EMBEDDED
from sfpo.model.embedded.recipe import EMBEDDED_RECIPE
from sfpo.options import given, value_of
from sfpo.settings import SlowFastSettings


def settings_of_run(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's own `config.yaml` says, over the defaults of what it leaves out."""
    of_model = EMBEDDED_RECIPE if configuration.get("model") == EMBEDDED else {}
    return {f.name: f.default for f in fields(SlowFastSettings)} | of_model | dict(configuration)


def settings_of_variant(
    comparison: Mapping[str, Any], variant: Mapping[str, Any], configuration: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a variant's runs: its own over the comparison's over the defaults.

    Args:
        comparison: what `comparison.json` says.
        variant: its entry in there.
        configuration: what the file says that the comparison named by `--config`, nothing where it named none.
    """
    method = variant["method"]
    # What a file holds because it is of another method does not reach this one.
    others = _method(configuration.get("method")).sets
    of_file = {name: value for name, value in configuration.items() if name not in others or others[name] != value}
    common = {"model": comparison["model"], "task": comparison["task"], **given(comparison["train"])}
    own = {name: value_of(value) for name, value in variant["settings"].items()}
    return settings_of_run(
        {**_method(method).defaults, **of_file, **common, **own, "method": method, **_method(method).sets}
    )


def _method(name: Any) -> Method:
    """Records may be of a method that is gone, or broken."""
    return METHODS[name] if isinstance(name, str) and name in METHODS else Method("unknown")
