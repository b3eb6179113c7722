"""What can be said of the arguments of `sfpo compare` before torch and TRL are imported, which takes seconds."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfpo.comparison.variants import Variant, make_variants
from sfpo.errors import UsageError
from sfpo.methods import METHODS, method_named, refuse_contradiction
from sfpo.nearest import did_you_mean
from sfpo.options import Parser, check_at_least, flags, value_of, with_underscores
from sfpo.records.lock import refuse_unwritable
from sfpo.training.first_look import check, check_names, look_at_hub, look_at_model
from sfpo.training.known_options import as_number, check_values, known_options

_HELP = """Train with several methods and seeds on one task, and measure how many rollouts and seconds each needs to reach
GRPO's best held-out accuracy. Every option of `sfpo train` that is not listed here is taken too, for all runs alike.
Give the same command again to continue a comparison that was stopped, or with more methods, seeds or values to extend it."""

_MOST_SEEDS = 1_000
SET_BY_COMPARE = {"method", "seed", "output_dir", "resume_from_checkpoint", "dry_run"}
"""Options of `sfpo train` that each run of a comparison is given."""


@dataclass(frozen=True)
class Asked:
    """The command's own options, and in `train` what every run is given."""

    folder: Path
    methods: list[tuple[str, dict[str, str]]]
    seeds: list[int]
    sweep: dict[str, list[str]]
    jobs: int | None
    dry_run: bool
    train: list[str]
    variants: list[Variant]


def first_look(arguments: Sequence[str]) -> None:
    """Print the help if it is asked for, and refuse what is wrong whatever the model and the data.

    Raises:
        SystemExit: the help was printed.
        UsageError: see `asked`.
    """
    wanted = asked(arguments)
    refuse_unwritable(wanted.folder, "sfpo compare")
    for variant in wanted.variants:
        look_at_model(variant.arguments_with(wanted.train))
        look_at_hub(variant.arguments_with(wanted.train))


def asked(arguments: Sequence[str]) -> Asked:
    """What the arguments ask for, checked for every run.

    Raises:
        UsageError: an option that does not exist, that some run would refuse, or that changes no run.
    """
    own, train = parser().parse_known_args(with_underscores(arguments))
    for name, _ in flags(train):
        if name in SET_BY_COMPARE:
            raise UsageError(f"--{name} is set by sfpo compare for every run: leave it out")
    check_names(train, also=("methods", "seeds", "sweep", "jobs", "config"))
    methods = _methods(own.methods)
    seeds = _seeds(own.seeds)
    sweep: dict[str, list[str]] = {}
    for text in own.sweep:
        name, values = _sweep(text)
        if name in sweep:
            raise UsageError(f"--sweep {name} is given twice: write all values in one, as {name}=VALUE,VALUE")
        sweep[name] = values
    check_at_least(1, own, "jobs")
    if own.output_dir is None:
        raise UsageError("give the folder of the comparison with --output_dir: the same command continues it")
    variants = make_variants(methods, sweep, train)
    _refuse_what_changes_nothing(variants, sweep, train)
    for variant in variants:
        check(variant.arguments_with(train))
    _refuse_equal_runs(variants, train)
    return Asked(Path(own.output_dir), methods, seeds, sweep, own.jobs, own.dry_run, train, variants)


def parser() -> Parser:
    """The parser of the command's own options."""
    made = Parser(
        prog="sfpo compare",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "--methods",
        default="grpo,multi_epoch,sfpo",
        help=f"among {', '.join(METHODS)}, each with settings of its own if it needs them: sfpo:alpha=0.6:inner_steps=5",
    )
    made.add_argument("--seeds", default="3", help="how many (0, 1, ...), or a list such as 3,4,7")
    made.add_argument("--sweep", action="append", default=[], help="FIELD=VALUE,VALUE of any option of sfpo train")
    made.add_argument("--output_dir", help="folder of the comparison (required)")
    made.add_argument("--jobs", type=int, help="runs at a time; as many as fit the machine if not given")
    made.add_argument("--dry_run", action="store_true", help="check everything, list the runs, and stop")
    return made


def _refuse_what_changes_nothing(variants: list[Variant], sweep: dict[str, list[str]], train: list[str]) -> None:
    """Refuse a swept setting or an option for all runs that no run has a use for: equal runs would look like different ones."""
    for name, values in sweep.items():
        if not any(name in variant.settings for variant in variants):
            raise UsageError(f"--sweep {name}={','.join(values)} changes no run, since {_why(name, variants, train)}")
    reached = {name for variant in variants for name, _ in flags(variant.arguments_with(train))}
    for name, words in flags(train):
        if name not in reached:
            raise UsageError(f"{' '.join(words)} changes no run, since {_why(name, variants, train)}")


def _refuse_equal_runs(variants: list[Variant], train: list[str]) -> None:
    """Refuse two variants that are the same run, such as one with a default and one that sets it."""
    seen: dict[str, str] = {}
    for variant in variants:
        settings = variant.settings_with(train)
        idle = variant.without_effect(train)
        values = {
            name: _alike(settings.get(name, option.default))
            for name, option in known_options().items()
            if name not in idle and METHODS[variant.method].has(name)
        }
        if (other := seen.setdefault(repr({**values, "method": variant.method}), variant.name)) != variant.name:
            raise UsageError(f"'{other}' and '{variant.name}' are the same run: leave one of them out")


def _alike(value: Any) -> Any:
    """The same for every spelling of a number."""
    value = as_number(value)
    return float(value) if type(value) is int else value


def _why(name: str, variants: list[Variant], train: list[str]) -> str:
    for variant in variants:
        if METHODS[variant.method].has(name) and (why := variant.without_effect(train).get(name)):
            return f"{why}, or leave it out"
    return f"no method here has a use for {name}: leave it out"


def _methods(text: str) -> list[tuple[str, dict[str, str]]]:
    methods = []
    for entry in dict.fromkeys(text.split(",")):
        method, *settings = entry.split(":")
        method_named(method)
        own = dict(setting.partition("=")[::2] for setting in settings)
        for name, value in own.items():
            _check_field("--methods", name, [value])
            refuse_contradiction(method, name, value_of(value), f"{method}:{name}={value}")
        methods.append((method, own))
    return methods


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(f"--seeds takes how many, or a list such as 3,4,7; got '{text}'") from error
    is_list = "," in text
    if not is_list and numbers and numbers[0] > _MOST_SEEDS:
        raise UsageError(f"--seeds asks for {numbers[0]:,} seeds: for one such seed write --seeds {numbers[0]},")
    seeds = list(dict.fromkeys(numbers)) if is_list else list(range(numbers[0] if numbers else 0))
    if not seeds or min(seeds) < 0:
        raise UsageError(f"--seeds needs at least one seed, none negative; got '{text}'")
    for seed in seeds:
        check_values({"seed": seed}, "a seed of --seeds")
    return seeds


def _sweep(text: str) -> tuple[str, list[str]]:
    name, _, values = text.partition("=")
    chosen = list(dict.fromkeys(values.split(",")))
    _check_field("--sweep", name, chosen)
    return name, chosen


def _check_field(option: str, name: str, values: list[str]) -> None:
    known = known_options().keys() - SET_BY_COMPARE
    if name not in known:
        hint = did_you_mean(name, known)
        raise UsageError(f"{option} cannot vary '{name}'{hint}: write an option of sfpo train, as FIELD=VALUE")
    for value in values:
        if not value or "/" in value:
            raise UsageError(f"{option} {name}={','.join(values)} names no value it can use: write FIELD=VALUE")
        check_values({name: value}, f"{option} {{}}")
