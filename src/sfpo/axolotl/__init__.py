"""SFPO in Axolotl: a plugin that adds SFPO's settings to the configuration, and the trainer that goes with it.

Axolotl loads plugins before it makes its classes of training arguments from their mixins. So this file imports nothing that
would make them too early; `trainer.py` does.
"""

from dataclasses import fields
from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel

from sfpo.nearest import unknown
from sfpo.trl.config import SlowFastFields

__all__ = ["SFPOArguments", "SFPOPlugin"]

_TRAINER = "sfpo.axolotl.trainer.SFPOTrainer"
_NAMES = [f.name for f in fields(SlowFastFields)]


class SFPOArguments(BaseModel):
    """What the plugin adds to Axolotl's configuration: `sfpo`, a mapping with any of the settings of `sfpo.trl.SFPOConfig`."""

    sfpo: dict[str, Any] = {}


class SFPOPlugin(BasePlugin):
    """Axolotl's hooks for the settings. The trainer itself is named by `trainer_cls`.

    Raises:
        ValueError: the configuration asks for another method than GRPO, for no trainer of SFPO's, for a setting that SFPO does
            not have, or for a part of Axolotl that SFPO does not support.
    """

    def get_input_args(self) -> str:
        return f"{__name__}.SFPOArguments"

    def get_training_args_mixin(self) -> str:
        return f"{SlowFastFields.__module__}.SlowFastFields"

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        if (why := _refused(cfg)) is not None:
            raise ValueError(why)
        return dict(cfg.sfpo or {})


def _refused(cfg: Any) -> str | None:
    if cfg.rl not in ("grpo", "gdpo") or not cfg.trainer_cls:
        return f"the plugin {__name__}.SFPOPlugin needs both rl: grpo and trainer_cls: {_TRAINER}"
    for name in cfg.sfpo or {}:
        if name not in _NAMES:
            return unknown("setting under sfpo:", name, _NAMES)
    rollouts = cfg.trl or {}
    if rollouts.get("async_prefetch") or rollouts.get("use_data_producer"):
        return "async_prefetch and use_data_producer need a trainer of Axolotl's own: leave them out under SFPO"
    if (cfg.context_parallel_size or 1) > 1:
        return f"context_parallel_size={cfg.context_parallel_size} needs a trainer of Axolotl's own: leave it out under SFPO"
    if (cfg.optimizer or "").startswith("flash_"):
        return (
            "Axolotl's flash_ optimizers keep a part of each weight in their state, which SFPO's reposition does not move: set "
            "optimizer: adamw_torch or another that steps from the weights"
        )
    return None
