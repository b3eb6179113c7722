"""What `sfpo train` takes: its own options, TRL's configuration with SFPO's fields, and TRL's model options."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

import torch
from trl import ModelConfig, TrlParser

from sfpo.errors import UsageError
from sfpo.methods import DEFAULT_METHOD, METHODS, method_named, refuse_contradiction
from sfpo.model.cpu import bf16_is_faster
from sfpo.model.embedded import EMBEDDED
from sfpo.model.embedded.recipe import EMBEDDED_RECIPE
from sfpo.options import OneLineErrors, Parser, check_at_least, flags, free_folder, given, read_config, split_config
from sfpo.settings import AUTO, ONLY_WITH_AUTO
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


@dataclass
class TrainOptions:
    """The command's own options."""

    method: str = field(
        default=DEFAULT_METHOD,
        metadata={"help": "; ".join(f"'{name}' ({method.what})" for name, method in METHODS.items()) + "."},
    )
    model: str = field(
        default=EMBEDDED,
        metadata={"help": "'embedded', a hub id, a local folder or a .gguf file of a causal language model."},
    )
    task: str = field(
        default="arithmetic",
        metadata={
            "help": "'arithmetic', 'gym:NAME' (any reasoning-gym task), a maths set of the hub ('dapo-math-17k', "
            "'dapo-math-17k-cleaned', 'math', 'dapo+math', 'skywork-or1', 'gsm8k') or 'file' with --data_path."
        },
    )
    task_params: list[str] = field(
        default_factory=list, metadata={"help": "Settings of a gym task, as name=value ..., such as min_terms=2."}
    )
    data_path: str | None = field(
        default=None,
        metadata={
            "help": "JSONL, CSV or parquet file of problems and answers, for --task file; or a local copy of a maths set "
            "(for 'dapo+math' two, with a comma between them)."
        },
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the file that holds the problem."})
    answer_column: str = field(default="answer", metadata={"help": "Column of the file that holds the answer."})
    prompt_template: str = field(
        default="auto",
        metadata={
            "help": "The instruction with each problem: 'boxed', 'dapo', 'plain', or 'auto': what the data set ships, "
            "else boxed for a maths set and plain for a file."
        },
    )
    difficulty: str | None = field(
        default=None,
        metadata={
            "help": "Keep the problems of a maths set that are rated so, as SCALE:LOW-HIGH: 'level:3-5' for MATH, "
            "'7B:1-15' for Skywork's failures in 16 tries of the model whose name ends in 7B."
        },
    )
    clean_data: bool = field(
        default=True,
        metadata={"help": "Drop repeats, rows with conflicting answers, and problems that are also in a benchmark."},
    )
    benchmark_data_path: str | None = field(
        default=None, metadata={"help": "Folder with local copies of the benchmarks, to use instead of the hub's."}
    )
    train_problems: int = field(default=10_000, metadata={"help": "Problems to generate for a procedural task."})
    eval_problems: int = field(default=512, metadata={"help": "Held-out problems, never trained on, to evaluate on."})
    eval_every: int = field(
        default=0, metadata={"help": "Steps between evaluations on held-out problems; 0 for before and after only."}
    )
    eval_benchmarks: list[str] = field(
        default_factory=list,
        metadata={"help": "Benchmarks to answer at each evaluation (see sfpo eval --help), such as math500,aime24."},
    )
    eval_samples: int = field(default=4, metadata={"help": "Answers to each problem of a benchmark."})
    eval_limit: int | None = field(default=None, metadata={"help": "Only the first so many problems of a benchmark."})
    eval_batch_size: int = field(default=128, metadata={"help": "Held-out or benchmark problems answered at a time."})
    completions_per_step: int = field(
        default=16, metadata={"help": "Sampled completions a step to keep in completions.jsonl."}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Check everything, print the configuration and what it will cost, and stop."}
    )


class _Parser(OneLineErrors, TrlParser):
    """TRL's parser."""


_CLASSES = (TrainOptions, SFPOConfig, ModelConfig)


@dataclass(frozen=True)
class Parsed:
    """The options of one run. `chosen` names those that the user, or the command for the user, set."""

    command: TrainOptions
    training: SFPOConfig
    model: ModelConfig
    chosen: frozenset[str]

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
    parser = _Parser(_CLASSES, prog="sfpo train", allow_abbrev=False)
    path, others = split_config(arguments)
    config = {} if path is None else read_config(path)
    first = _first_look(arguments, config)
    recipe = EMBEDDED_RECIPE if first.model == EMBEDDED else {}
    defaults = {**_DEFAULTS, **_cpu_defaults(), **recipe, **method_named(first.method).defaults}
    parser.set_defaults_with_config(**defaults, output_dir=free_folder(f"{first.task}-{first.method}"))
    _set_environment(config.pop("env", {}))
    _check_counts({**config, **given(arguments)})
    if unknown := parser.set_defaults_with_config(**typed(_of_method(first.method, arguments, config), *_CLASSES)):
        raise UsageError(f"the configuration has options that sfpo train does not have: {' '.join(unknown)}")
    try:
        options, training, model = parser.parse_args_into_dataclasses(others, look_for_args_file=False)
        _check(options)
        _check_region(training.alpha, given(arguments))
    except ValueError as error:
        raise UsageError(_mended(str(error))) from error
    return Parsed(options, training, model, frozenset({*given(arguments), *config, *defaults}))


_ALWAYS_SHOWN = {
    "per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "max_completion_length", "max_steps",
    "learning_rate", "temperature", "beta", "loss_type", "bf16", "seed", "output_dir",
}  # fmt: skip
_NOT_A_SETTING = {"dry_run", "resume_from_checkpoint"}


def _of_method(name: str, arguments: Sequence[str], config: dict[str, Any]) -> dict[str, Any]:
    """What a file sets for a method, with what defines the method; what contradicts it is refused.

    A file speaks for the method that it names. A run's own `config.yaml` is taken back, whatever it holds that is of no use
    to its method; and where a flag chooses another method than the file, what defines the file's method is left out.
    """
    method, file_method = method_named(name), method_named(str(config.get("method", name)))
    by_flag = given(arguments)
    for setting, words in flags(arguments):
        refuse_contradiction(name, setting, by_flag.get(setting), " ".join(words))
    if file_method is method:
        for setting in config.keys() & method.sets.keys() - by_flag.keys():
            refuse_contradiction(name, setting, config[setting], f"{setting}: {config[setting]} in the configuration")
    return {**method.of_file(config, file_method), **method.sets}


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


def _check_counts(values: dict[str, Any]) -> None:
    """Refuse counts that TRL divides by before it looks at them."""
    for name in (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_generations",
        "steps_per_generation",
        "max_completion_length",
    ):
        if isinstance(value := values.get(name), int | float) and value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")


def _check(options: TrainOptions) -> None:
    check_at_least(1, options, "train_problems", "eval_problems", "eval_batch_size", "eval_samples", "eval_limit")
    check_at_least(0, options, "eval_every", "completions_per_step")


def _check_region(alpha: Any, by_flag: dict[str, Any]) -> None:
    """Refuse a KL budget that nothing asks for. Files may hold one, since every run's own configuration does."""
    if alpha != AUTO:
        for name in ONLY_WITH_AUTO & by_flag.keys():
            raise UsageError(
                f"--{name} {by_flag[name]} has no effect, since alpha is {alpha}: add --alpha {AUTO}, or leave it out"
            )


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
