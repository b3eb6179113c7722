"""What `sfpo train` takes: its own options, TRL's configuration with SFPO's fields, and TRL's model options."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

import torch
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from trl import ModelConfig, TrlParser

from sfpo.errors import UsageError
from sfpo.methods import method_named
from sfpo.model.cpu import bf16_is_faster
from sfpo.model.embedded import EMBEDDED
from sfpo.model.embedded.recipe import EMBEDDED_RECIPE
from sfpo.nearest import unknown
from sfpo.options import OneLineErrors, Parser, flags, free_folder, given, read_config, split_config
from sfpo.training.first_look import check
from sfpo.training.known_options import known_options
from sfpo.training.own_options import TrainOptions
from sfpo.training.places import missing_tracker
from sfpo.training.typed import typed
from sfpo.trl import SFPOConfig
from sfpo.trl.config import SlowFastFields

# Defaults of the command, where TRL's would surprise: every step is logged, nothing is sent anywhere.
_DEFAULTS: dict[str, Any] = {"logging_steps": 1, "report_to": "none", "save_total_limit": 2}


def _cpu_defaults() -> dict[str, Any]:
    if torch.accelerator.is_available():
        return {}
    defaults = {
        # transformers asks for this by name before it trains in bf16 without an accelerator.
        "use_cpu": True,
        # Memory is plentiful here and arithmetic is not.
        "gradient_checkpointing": False,
    }
    # Left to TRL where it is faster, since TRL's own default makes way for --fp16.
    return defaults if bf16_is_faster() else defaults | {"bf16": False}


class _Parser(OneLineErrors, TrlParser):
    """TRL's parser."""


_CLASSES = (TrainOptions, SFPOConfig, ModelConfig)


@dataclass(frozen=True)
class Parsed:
    """The options of one run, and the arguments that it was started with.

    `chosen` names the options that the user, or the command for the user, set.
    """

    command: TrainOptions
    training: SFPOConfig
    model: ModelConfig
    chosen: frozenset[str]
    arguments: tuple[str, ...]

    def effective(self) -> dict[str, Any]:
        """The configuration worth reading, ready for `--config`: what was chosen, the command's own options and SFPO's."""
        own = {f.name for part in (TrainOptions, SlowFastFields) for f in fields(part)}
        shown = (own | self.chosen | _ALWAYS_SHOWN) - _NOT_A_SETTING
        return {
            f.name: value.value if isinstance(value, Enum) else value
            for part in (self.command, self.training, self.model)
            for f in fields(part)
            if f.name in shown and (value := getattr(part, f.name)) is not None
        }


def parse(arguments: Sequence[str]) -> Parsed:
    """Options from flags and, with `--config`, a YAML file; flags win.

    Raises:
        UsageError: an unknown or contradictory option.
    """
    check(arguments)
    parser = _Parser(_CLASSES, prog="sfpo train", allow_abbrev=False)
    path, others = split_config(arguments)
    config = {} if path is None else read_config(path)
    first = _first_look(arguments, config)
    recipe = EMBEDDED_RECIPE if first.model == EMBEDDED else {}
    defaults = {**_DEFAULTS, **_cpu_defaults(), **recipe, **method_named(first.method).defaults}
    parser.set_defaults_with_config(**defaults, output_dir=free_folder(f"{first.task}-{first.method}"))
    _set_environment(config.pop("env", {}))
    method = method_named(first.method)
    of_file = method.of_file(config, method_named(str(config.get("method", first.method))))
    parser.set_defaults_with_config(**typed({**of_file, **method.sets}, *_CLASSES))
    try:
        options, training, model = parser.parse_args_into_dataclasses(_spelled_out(others), look_for_args_file=False)
        _check_reports(training.report_to)
    except ValueError as error:
        raise UsageError(_mended(str(error))) from error
    return Parsed(options, training, model, frozenset({*given(arguments), *config, *defaults}), tuple(arguments))


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """The flags with their values, also where a switch has none; TRL's parser knows that form of some switches only."""
    spelled: list[str] = []
    for name, words in flags(arguments):
        if len(words) == 1 and "=" not in words[0] and known_options()[name].kind == "switch":
            words = [f"--{name}", "false" if words[0].startswith("--no_") else "true"]
        spelled += words
    return spelled


_ALWAYS_SHOWN = {
    "per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "max_completion_length", "max_steps",
    "learning_rate", "temperature", "beta", "loss_type", "bf16", "seed", "output_dir",
}  # fmt: skip
_NOT_A_SETTING = {"dry_run", "resume_from_checkpoint"}


def _set_environment(variables: Any) -> None:
    """What a file says under `env`, as TRL's own commands read it."""
    if not isinstance(variables, dict):
        raise UsageError(f"env must hold 'NAME: value' lines, got {variables!r}")
    os.environ.update({str(name): str(value) for name, value in variables.items()})


def _first_look(arguments: Sequence[str], config: dict[str, Any]) -> argparse.Namespace:
    """The options that other defaults depend on."""
    parser = Parser(prog="sfpo train", add_help=False, allow_abbrev=False)
    for name in ("model", "task", "method"):
        parser.add_argument(f"--{name}", default=config.get(name, getattr(TrainOptions, name)))
    return parser.parse_known_args(arguments)[0]


def _check_reports(places: list[str]) -> None:
    """Refuse to report where there is nothing to report to, before a model is loaded for it."""
    available = [*get_available_reporting_integrations(), "flyte"]  # transformers does not look for flyte
    for place in places:
        if place not in INTEGRATION_TO_CALLBACK:
            raise UsageError(unknown("place for --report_to", place, [*INTEGRATION_TO_CALLBACK, "none"]))
        if place not in available:
            raise missing_tracker(place)


_UNKNOWN = "Some specified arguments are not used by the HfArgumentParser:"
"""How transformers' parser begins its complaint."""


def _mended(message: str) -> str:
    """TRL's own complaints in one line, with the flags that answer the commonest."""
    message = " ".join(message.split())
    if message.startswith(_UNKNOWN):
        return f"there is no option {message.removeprefix(_UNKNOWN).strip(' []')} (see sfpo train --help)"
    if "divisible by num_generations" in message:
        message += (
            " Make --per_device_train_batch_size times --gradient_accumulation_steps a multiple of --num_generations."
        )
    return message
