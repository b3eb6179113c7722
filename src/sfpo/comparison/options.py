"""What `sfpo compare` takes: its own options; all others are those of `sfpo train`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from trl import ModelConfig

from sfpo.comparison.variants import Variant, make_variants
from sfpo.errors import UsageError
from sfpo.methods import METHODS, method_named, refuse_contradiction
from sfpo.options import Parser, check_at_least, flags, value_of
from sfpo.training.options import Parsed, TrainOptions, parse
from sfpo.trl import SFPOConfig

_HELP = """Train with several methods and seeds on one task, and measure how many rollouts and seconds each needs to reach
GRPO's best held-out accuracy. Every option of `sfpo train` that is not listed here is taken too, for all runs alike.
Give the same command again to continue a comparison that was stopped, or with more methods, seeds or values to extend it."""

_SET_BY_COMPARE = {"method", "seed", "output_dir", "resume_from_checkpoint", "dry_run"}
_EVALUATIONS = 24
_ENOUGH_PROBLEMS = 512


@dataclass(frozen=True)
class CompareOptions:
    """`train` is what every run is given, `example` how the first of them reads it."""

    folder: Path
    methods: list[tuple[str, dict[str, str]]]
    seeds: list[int]
    sweep: dict[str, list[str]]
    jobs: int | None
    dry_run: bool
    train: list[str]
    variants: list[Variant]
    example: Parsed

    @property
    def warning(self) -> str | None:
        """What makes the figures rougher than they need to be."""
        if self.example.command.eval_problems < _ENOUGH_PROBLEMS:
            return (
                f"{self.example.command.eval_problems} held-out problems tell accuracies apart only roughly: "
                f"leave --eval_problems at {_ENOUGH_PROBLEMS} or more for figures to rely on"
            )
        return None


def parse_comparison(arguments: Sequence[str]) -> CompareOptions:
    """Options, checked for every variant before the first run starts.

    Raises:
        UsageError: an option that does not exist, or that some run would refuse.
    """
    parser = Parser(
        prog="sfpo compare",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--methods",
        default="grpo,multi_epoch,sfpo",
        help=f"among {', '.join(METHODS)}, each with settings of its own if it needs them: sfpo:alpha=0.6:inner_steps=5",
    )
    parser.add_argument("--seeds", default="3", help="how many (0, 1, ...), or a list such as 3,4,7")
    parser.add_argument("--sweep", action="append", default=[], help="FIELD=VALUE,VALUE of any option of sfpo train")
    parser.add_argument("--output_dir", required=True, help="folder of the comparison")
    parser.add_argument("--jobs", type=int, help="runs at a time; as many as fit the machine if not given")
    parser.add_argument("--dry_run", action="store_true", help="check everything, list the runs, and stop")
    own, train = parser.parse_known_args([word for _, words in flags(arguments) for word in words])
    for name, _ in flags(train):
        if name in _SET_BY_COMPARE:
            raise UsageError(f"--{name} is set by sfpo compare for every run: leave it out")
    methods = _methods(own.methods)
    seeds = _seeds(own.seeds)
    sweep = dict(_sweep(text) for text in own.sweep)
    check_at_least(1, own, "jobs")
    variants = make_variants(methods, sweep, train)
    examples = [parse(variant.arguments_with(train)) for variant in variants]
    train += _evaluations(examples[0])
    return CompareOptions(
        Path(own.output_dir),
        methods,
        seeds,
        sweep,
        own.jobs,
        own.dry_run,
        train,
        variants,
        parse(variants[0].arguments_with(train)),
    )


def _evaluations(example: Parsed) -> list[str]:
    """A curve needs evaluations on the way."""
    if example.command.eval_every:
        return []
    steps = example.training.max_steps
    if steps <= 0:
        raise UsageError("a comparison evaluates on the way: give --max_steps, or --eval_every")
    return ["--eval_every", str(max(1, steps // _EVALUATIONS))]


def _methods(text: str) -> list[tuple[str, dict[str, str]]]:
    methods = []
    for entry in dict.fromkeys(text.split(",")):
        method, *settings = entry.split(":")
        method_named(method)
        own = dict(setting.partition("=")[::2] for setting in settings)
        for name, value in own.items():
            _check_field("--methods", name, value)
            refuse_contradiction(method, name, value_of(value), f"{method}:{name}={value}")
        methods.append((method, own))
    return methods


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds takes how many, or a list such as 3,4,7; got '{text}'") from error
    seeds = list(range(numbers[0])) if len(numbers) == 1 else list(dict.fromkeys(numbers))
    if not seeds or min(seeds) < 0:
        raise UsageError(f"--seeds needs at least one seed, none negative; got '{text}'")
    return seeds


def _sweep(text: str) -> tuple[str, list[str]]:
    name, _, values = text.partition("=")
    _check_field("--sweep", name, values)
    return name, list(dict.fromkeys(values.split(",")))


def _check_field(option: str, name: str, values: str) -> None:
    known = {f.name for part in (TrainOptions, SFPOConfig, ModelConfig) for f in fields(part)} - _SET_BY_COMPARE
    if name not in known:
        raise UsageError(f"{option} cannot vary '{name}': write an option of sfpo train, as FIELD=VALUE")
    if not values or "/" in values:
        raise UsageError(f"{option} {name}={values} names no value it can use: write FIELD=VALUE")
