"""Every option that `sfpo train` takes, known without the seconds that importing TRL takes; and the values that each takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sfpo.errors import UsageError
from sfpo.fields import Option, by_name, enumerations_in, options_in, options_of, source_of
from sfpo.options import LARGEST, value_of
from sfpo.settings import SlowFastSettings
from sfpo.training.own_options import TrainOptions


@cache
def known_options() -> dict[str, Option]:
    """By their names: those of TRL and transformers, those of SFPO's update, and the command's own.

    Raises:
        ModuleNotFoundError: TRL or transformers is not installed.
    """
    arguments = source_of("transformers", "training_args.py")
    enumerations = enumerations_in(source_of("transformers", "trainer_utils.py")) | enumerations_in(arguments)
    sources = (
        (arguments, "TrainingArguments"),
        (source_of("trl", "trainer", "base_config.py"), "_BaseConfig"),
        (source_of("trl", "trainer", "grpo_config.py"), "GRPOConfig"),
        (source_of("trl", "trainer", "model_config.py"), "ModelConfig"),
        (source_of("sfpo", "trl", "config.py"), "SlowFastFields"),
        (source_of("sfpo", "trl", "config.py"), "SFPOConfig"),
    )
    theirs = by_name(option for path, name in sources for option in options_in(path, name, enumerations))
    for name, values in _CHOICES.items():
        theirs[name] = replace(theirs[name], choices=values)
    own = by_name([*options_of(SlowFastSettings), *options_of(TrainOptions)])
    return {name: option for name, option in (theirs | own).items() if name not in INSTEAD}


INSTEAD = {
    "model_name_or_path": "sfpo train takes the model as --model",
    "model_revision": 'sfpo train takes a revision as --model_init_kwargs \'{"revision": "..."}\'',
}
"""Options of TRL's that its trainer does not read, with what does their work here."""

# TRL looks at these only when a loss is computed or a model is sampled from.
_CHOICES: dict[str, tuple[str, ...]] = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none", "True", "False", "true", "false"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("colocate", "server"),
    "vllm_model_impl": ("auto", "vllm", "transformers"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
}


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes; `excludes` names ends that are not among them."""

    low: float = -math.inf
    high: float = math.inf
    excludes: frozenset[float] = frozenset()
    also: frozenset[float] = frozenset()
    hint: str = ""

    def check(self, value: float, written: str) -> None:
        """Refuse a number outside.

        Raises:
            UsageError: naming the option as the user wrote it, and the range.
        """
        if value in self.also:
            return
        if not math.isfinite(value):
            raise UsageError(f"{written} must be a finite number, got {value}")
        if not self.low <= value <= self.high or value in self.excludes:
            raise UsageError(f"{written} must be {self._words(value)}{self.hint}, got {value}")

    def _words(self, value: float) -> str:
        """Both ends of a narrow range, of a wide one the end that the value is beyond."""
        low = f"{'above' if self.low in self.excludes else 'at least'} {self.low:,.10g}"
        high = f"{'below' if self.high in self.excludes else 'at most'} {self.high:,.10g}"
        if self.high <= 1:
            return f"{low} and {high}"
        return high if value > self.low else low


_ANY = Range()
_WHOLE = Range(-LARGEST - 1, LARGEST)
_COUNT = Range(1, LARGEST)
_FROM_0 = Range(0, LARGEST)
_NOT_NEGATIVE = Range(0)
_POSITIVE = Range(0, excludes=frozenset({0}))
_SHARE = Range(0, 1)
_PROBABILITY = Range(0, 1, excludes=frozenset({0}))
_BELOW_1 = Range(0, 1, excludes=frozenset({1}))
_SEED = Range(0, 2.0**32 - 1)
_PROBLEMS = Range(1, 10_000_000)

_RANGES: dict[str, Range] = {
    "max_steps": Range(1, LARGEST, also=frozenset({-1}), hint=", or -1 for as many as --num_train_epochs makes"),
    "save_steps": Range(0, excludes=frozenset({0}), hint=" (--save_strategy no saves nothing on the way)"),
    "train_problems": _PROBLEMS,
    "eval_problems": _PROBLEMS,
    "entropy_window": Range(2, LARGEST),
    # Infinite: clipped on no side.
    "max_grad_norm": Range(0, also=frozenset({math.inf})),
    "epsilon_high": Range(0, also=frozenset({math.inf})),
    "delta": Range(0, excludes=frozenset({0}), also=frozenset({math.inf})),
    "entropy_threshold": Range(0, excludes=frozenset({0}), also=frozenset({math.inf})),
    **dict.fromkeys(("seed", "data_seed"), _SEED),
    **dict.fromkeys(
        (
            "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
            "num_generations", "num_generations_eval", "generation_batch_size", "steps_per_generation",
            "max_completion_length", "num_iterations", "ref_model_sync_steps", "max_tool_calling_iterations",
            "num_completions_to_print", "lora_r", "lora_alpha", "vllm_max_model_length", "vllm_tensor_parallel_size",
            "dataloader_prefetch_factor", "eval_accumulation_steps", "torch_empty_cache_steps", "ddp_bucket_cap_mb",
            "ddp_timeout", "eval_batch_size", "eval_samples", "eval_limit",
        ),
        _COUNT,
    ),
    **dict.fromkeys(("eval_every", "completions_per_step", "dataloader_num_workers", "top_k"), _FROM_0),
    **dict.fromkeys(("vllm_server_port", "vllm_group_port"), Range(1, 65_535)),
    **dict.fromkeys(
        (
            "learning_rate", "weight_decay", "warmup_steps", "beta", "epsilon", "label_smoothing_factor",
            "neftune_noise_alpha", "router_aux_loss_coef", "entropy_coef", "eval_delay",
            "vllm_importance_sampling_clip_min", "vllm_importance_sampling_clip_max",
        ),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        (
            "num_train_epochs", "temperature", "repetition_penalty", "logging_steps", "eval_steps", "adam_epsilon",
            "sapo_temperature_neg", "sapo_temperature_pos", "vllm_server_timeout", "target_kl",
        ),
        _POSITIVE,
    ),
    **dict.fromkeys(("min_p", "ref_model_mixup_alpha", "top_entropy_quantile"), _SHARE),
    **dict.fromkeys(("top_p", "vllm_gpu_memory_utilization"), _PROBABILITY),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "lora_dropout"), _BELOW_1),
}  # fmt: skip
_OF_THE_UPDATE = frozenset({"inner_steps", "kl_budget", "alpha_max"})
"""Their range is the update's own to check, in words that also serve without a command line."""


def check_values(values: Mapping[str, Any], form: str) -> None:
    """Refuse values that some option cannot take.

    Args:
        values: as `given` or a configuration has them.
        form: how the user writes an option, such as `--{}`.

    Raises:
        UsageError: naming the first such option.
    """
    for name, value in values.items():
        option = known_options()[name]
        written = form.format(name)
        value = as_number(value)
        option.check(value, written)
        if value is not None and option.kind in ("whole", "number") and name not in _OF_THE_UPDATE:
            _RANGES.get(name, _WHOLE if option.kind == "whole" else _ANY).check(value, written)


def as_number(value: Any) -> Any:
    """A number that YAML leaves as text, such as 1e-6, as a number."""
    return value_of(value) if isinstance(value, str) else value
