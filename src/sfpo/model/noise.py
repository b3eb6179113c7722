"""Switches off what is random in a model while it trains, so that all passes over a batch share one objective.

TRL's `disable_dropout` reaches modules of dropout. Many models drop attention weights or residuals by a function instead, with
a rate that a module or a configuration holds; others skip layers, or jitter what a router sees.
"""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_RATE = re.compile(r"drop|jitter", re.IGNORECASE)
_DRAWS_EXPERTS = {"phimoe": "draws its experts at random (sparsemixer)"}
"""Kinds of models that are random without a rate that could be set to 0: what they do."""


def switch_off_noise(model: nn.Module) -> None:
    """Set every rate of dropout, skipped layers and jitter to 0, in modules and in the configurations they read.

    Raises:
        ValueError: a module is random in training by other means.
    """
    for module in model.modules():
        if isinstance(module, _DROPOUT):
            module.p = 0.0
        _zero_rates(module)
        for config in _configs(module):
            if (what := _DRAWS_EXPERTS.get(config.model_type)) is not None:
                raise ValueError(
                    f"SFPO does not train models of the type {config.model_type}: in training it {what}, and the passes of a "
                    "step must share one objective"
                )
            _zero_rates(config)


def _configs(holder: Any) -> Iterator[PreTrainedConfig]:
    """The configurations that a module holds, and those within them."""
    for value in list(vars(holder).values()):
        if isinstance(value, PreTrainedConfig):
            yield value
            yield from _configs(value)


def _zero_rates(holder: Any) -> None:
    for name, value in list(vars(holder).items()):
        if isinstance(value, float) and value > 0 and _RATE.search(name):
            setattr(holder, name, 0.0)
