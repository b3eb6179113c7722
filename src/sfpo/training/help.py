"""The help of `sfpo train`: what most runs choose, grouped; TRL's many options only where they are asked for."""

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from sfpo.fields import Option
from sfpo.methods import METHODS
from sfpo.training.known_options import known_options

_WHAT = """Train a language model on a task with SFPO, GRPO or an ablation. Without any option: the model and the task that
ship with the package, in under five minutes on two cores. --config FILE.yaml reads options from a file; flags win over it."""

_GROUPS: dict[str, tuple[str, ...]] = {
    "method": (
        "method", "inner_steps", "alpha", "kl_budget", "alpha_max", "gate", "gate_sides", "entropy_window",
        "entropy_threshold", "target_kl", "gxpo_moments", "slow_correction",
    ),
    "model and task": (
        "model", "task", "task_params", "data_path", "prompt_column", "answer_column", "prompt_template", "difficulty",
        "clean_data", "train_problems",
    ),
    "training": (
        "max_steps", "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps",
        "steps_per_generation", "num_generations", "max_completion_length", "advantage_estimator", "temperature", "beta",
        "loss_type", "bf16", "use_peft", "use_vllm", "seed", "compact_passes", "compact_rollouts", "snapshot_device",
    ),
    "evaluation": (
        "eval_every", "eval_problems", "eval_batch_size", "eval_benchmarks", "eval_samples", "eval_limit",
        "benchmark_data_path",
    ),
    "output": (
        "output_dir", "save_steps", "resume_from_checkpoint", "completions_per_step", "report_to", "dry_run",
    ),
}  # fmt: skip

_NOTES = {"training": "The embedded model has defaults of its own, which --dry_run shows."}
# Where TRL's own words are for those who know TRL.
_WORDS = {
    "max_steps": "Steps to train for; --num_train_epochs counts passes over the data instead.",
    "learning_rate": "Learning rate of AdamW.",
    "per_device_train_batch_size": "Completions in one forward and backward on each device.",
    "gradient_accumulation_steps": "Such batches in one optimizer step.",
    "steps_per_generation": "Such batches sampled at a time; gradient_accumulation_steps if not given.",
    "num_generations": "Completions sampled for each prompt: a group.",
    "advantage_estimator": "Rewards are compared with their group's mean ('grpo'), or with that of a greedy rollout more ('remax').",
    "max_completion_length": "Tokens after which a completion is cut off.",
    "temperature": "Temperature at which completions are sampled.",
    "beta": "Weight of the KL term to the model at the start; 0 leaves it out.",
    "loss_type": "The loss.",
    "bf16": "Train in bf16; on a CPU only where that is faster, unless asked for.",
    "use_peft": "Train LoRA weights only (--lora_r, --lora_target_modules ...).",
    "use_vllm": "Sample completions with vLLM.",
    "seed": "Chooses the problems of a generated task, their order and the samples.",
    "output_dir": "Folder of the run; a new one in runs/ if not given.",
    "save_steps": "Steps between checkpoints.",
    "resume_from_checkpoint": "'last' continues the run in output_dir, or the path of a checkpoint.",
    "report_to": "Trackers to report to as well: wandb, trackio, tensorboard ...",
    "slow_correction": "Whether the slow pass follows; without it the step is Lookahead.",
    "gxpo_moments": "With --method gxpo: Adam's moments are 'restored' before the slow pass, or are 'running' on.",
    "target_kl": "With --method multi_epoch: stop the passes over a batch where their KL is above 1.5 times this.",
    "compact_passes": "Passes skip what has no gradient, repetitions and padding; the result is the same.",
    "compact_rollouts": "Sample with shared prompts and without sequences that have ended.",
    "snapshot_device": "Where the one copy of the weights is kept during a step: 'cpu', or 'none' for beside them.",
}
_VALUES = {"method": "NAME", "model": "NAME", "task": "NAME", "eval_benchmarks": "NAME", "task_params": "NAME=VALUE"}
_OF_KIND = {"whole": "N", "number": "X", "text": "TEXT", "words": "WORD", "switch": "true|false"}


def parser(everything: bool) -> argparse.ArgumentParser:
    """All options with their help, to print or to complete words from; it parses nothing.

    Args:
        everything: whether TRL's other options are among them.
    """
    made = argparse.ArgumentParser(
        prog="sfpo train",
        usage="sfpo train [--config FILE.yaml] [--OPTION VALUE ...]",
        description=_WHAT,
        epilog=None if everything else "sfpo train --help-all lists TRL's other options too; all of them are taken.",
        add_help=False,
        allow_abbrev=False,
    )
    known = known_options()
    for title, names in _GROUPS.items():
        _add(made.add_argument_group(title, _NOTES.get(title)).add_argument, (known[name] for name in names))
    others = made.add_argument_group("this help, and files of options")
    others.add_argument("--help", action="store_true", help="These options.")
    others.add_argument("--help-all", action="store_true", help="TRL's other options too.")
    others.add_argument("--config", metavar="FILE.yaml", help="A file of options, such as a run's config.yaml.")
    if everything:
        shown = {name for names in _GROUPS.values() for name in names}
        rest = [known[name] for name in sorted(known.keys() - shown)]
        _add(made.add_argument_group("TRL's and transformers' other options").add_argument, rest)
    return made


def print_help(everything: bool) -> None:
    """To the terminal, at its width."""
    print(parser(everything).format_help(), end="")


def _add(add_argument: Callable[..., Any], options: Iterable[Option]) -> None:
    for option in options:
        choices = list(METHODS) if option.name == "method" else list(option.choices)
        add_argument(
            f"--{option.name}",
            metavar=_VALUES.get(option.name, _OF_KIND[option.kind]),
            nargs="?" if option.kind == "switch" else "+" if option.kind == "words" else None,
            choices=[choice for choice in dict.fromkeys(choices) if choice[0].islower()] or None,
            help=_help(option).replace("%%", "%").replace("%", "%%"),
        )


def _help(option: Option) -> str:
    text = _WORDS.get(option.name) or option.help
    if option.choices and not all(choice in text for choice in option.choices):
        values = ", ".join(
            choice for choice in option.choices if choice[0].islower() and choice not in ("true", "false")
        )
        text = f"{text.rstrip('.')}: {values}."
    return text if option.name in ("method", "snapshot_device") else option.described(text)
