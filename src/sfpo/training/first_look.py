"""What can be said of the arguments of `sfpo train` before torch and TRL are imported, which takes seconds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from os.path import isfile
from typing import Any

from sfpo.errors import UsageError
from sfpo.methods import DEFAULT_METHOD, Method, method_named, refuse_contradiction
from sfpo.model import hub
from sfpo.model.embedded import EMBEDDED
from sfpo.model.embedded.recipe import EMBEDDED_RECIPE
from sfpo.nearest import did_you_mean
from sfpo.options import config_of, flags, given, split_config
from sfpo.records.settings import chosen_settings, settings_of_run
from sfpo.settings import SlowFastSettings, without_effect
from sfpo.tasks.catalog import KNOWN, TASKS, check_task, names_of
from sfpo.tasks.templates import check_template
from sfpo.training.help import print_help
from sfpo.training.known_options import INSTEAD, as_number, check_values, known_options
from sfpo.training.own_options import TrainOptions
from sfpo.training.places import check_folder, check_groups, check_model, check_trackers

HELP, HELP_ALL = ("--help", "-h"), ("--help-all", "--help_all")


def first_look(arguments: Sequence[str]) -> None:
    """Print the help if it is asked for, and refuse what is wrong whatever the model and the data.

    Raises:
        SystemExit: the help was printed.
        UsageError: an unknown option or name, or a value that an option cannot take or that has no effect.
    """
    if any(word in (*HELP, *HELP_ALL) for word in arguments):
        print_help(everything=any(word in HELP_ALL for word in arguments))
        raise SystemExit(0)
    check(arguments)
    look_at_model(arguments)
    check_folder(_all(given(arguments), config_of(arguments)))
    look_at_hub(arguments)


def look_at_model(arguments: Sequence[str]) -> None:
    """Find out whether the model and the file of problems can be what the run needs, as far as that is quickly told.

    Raises:
        UsageError: see `check_model`.
    """
    check_model(_all(given(arguments), config_of(arguments)))


def look_at_hub(arguments: Sequence[str]) -> None:
    """Find out whether the hub answers, where the run needs it.

    Raises:
        UsageError: the model can neither be had from the hub nor from its cache.
    """
    own = _own(given(arguments), config_of(arguments))
    tests = names_of(own["eval_benchmarks"], "eval_benchmarks") if own["eval_benchmarks"] else []
    from_hub = own["benchmark_data_path"] is None
    reads_set = own["task"] in TASKS and (own["data_path"] is None or (own["clean_data"] and from_hub))
    hub.look(str(own["model"]), reads_set or (from_hub and any(name in KNOWN for name in tests)))


def check(arguments: Sequence[str]) -> None:
    """Refuse what `first_look` does.

    Raises:
        UsageError: see there.
    """
    _, others = split_config(arguments)
    config = {name: value for name, value in config_of(arguments).items() if name != "env"}
    check_names(others)
    check_keys(config)
    by_flag = given(others)
    check_values(by_flag, "--{}")
    check_values({name: value for name, value in config.items() if name not in by_flag}, "{} in the configuration")
    method = str(by_flag.get("method", config.get("method", DEFAULT_METHOD)))
    _check_method(method, others, config)
    settings = settings_of_run({"model": TrainOptions.model} | chosen_settings(method, {}, others, config))
    _check_update(settings)
    for name, why in without_effect(settings["alpha"], settings["gate"]).items():
        if name in by_flag:
            raise UsageError(f"--{name} {by_flag[name]} has no effect, since {why}, or leave it out")
    own = _own(by_flag, config)
    _check_task(own, by_flag)
    everything = _all(by_flag, config)
    check_groups(everything)
    check_trackers(everything)
    if own["eval_benchmarks"]:
        names_of(own["eval_benchmarks"], "eval_benchmarks")


def _own(by_flag: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the command's own options are set to."""
    defaults = {f.name: None if f.default is MISSING else f.default for f in fields(TrainOptions)}
    return {name: by_flag.get(name, config.get(name, default)) for name, default in defaults.items()}


def _all(by_flag: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the options are set to; of some of TRL's the default is known only when it is imported, and is None here."""
    own = _own(by_flag, config)
    recipe = EMBEDDED_RECIPE if own["model"] == EMBEDDED else {}
    defaults = {name: option.default for name, option in known_options().items()}
    return {**defaults, **recipe, **config, **by_flag, **own}


def check_names(arguments: Sequence[str], also: Iterable[str] = ()) -> None:
    """Refuse flags that there are not, and words that belong to no flag.

    Args:
        also: flags of another command that takes those of `sfpo train` too.

    Raises:
        UsageError: naming the first.
    """
    known = known_options()
    names = [*known, *also]
    for name, words in flags(arguments):
        if not name:
            raise _no_option(words[0], names)
        if name in also:
            continue
        if name in INSTEAD:
            raise UsageError(f"there is no option --{name}: {INSTEAD[name]}")
        if name not in known:
            raise _no_option(words[0].partition("=")[0], names)
        values = len(words) - 1 + ("=" in words[0])
        if not values and known[name].kind != "switch":
            raise UsageError(f"--{name} needs a value (see sfpo train --help)")
        if values > 1 and known[name].kind != "words":
            raise _no_option(words[2 - ("=" in words[0])], names)


def _no_option(word: str, names: Iterable[str]) -> UsageError:
    hint = did_you_mean(word.lstrip("-–—").replace("-", "_").removeprefix("no_"), names, "--{}")
    return UsageError(f"there is no option '{word}'{hint}: see sfpo train --help")


def check_keys(config: Mapping[str, Any]) -> None:
    """Refuse a configuration's options that there are not.

    Raises:
        UsageError: naming them.
    """
    known = known_options()
    if unknown := [name for name in config if name not in known]:
        hint = did_you_mean(unknown[0], known)
        instead = f": {INSTEAD[unknown[0]]}" if unknown[0] in INSTEAD else ""
        raise UsageError(
            f"the configuration has options that sfpo train does not have: {' '.join(unknown)}{hint}{instead}"
        )


def _check_method(name: str, arguments: Sequence[str], config: Mapping[str, Any]) -> None:
    """Refuse what contradicts the method. A file speaks for the method that it names."""
    method, file_method = method_named(name), _file_method(config, name)
    by_flag = given(arguments)
    for setting, words in flags(arguments):
        refuse_contradiction(name, setting, by_flag.get(setting), " ".join(words))
    if file_method is method:
        for setting in config.keys() & method.sets.keys() - by_flag.keys():
            refuse_contradiction(name, setting, config[setting], f"{setting}: {config[setting]} in the configuration")


def _file_method(config: Mapping[str, Any], otherwise: str) -> Method:
    return method_named(str(config.get("method", otherwise)))


def _check_update(settings: Mapping[str, Any]) -> None:
    """Refuse settings of the update that are out of their range."""
    known = {name: as_number(settings[name]) for name in SlowFastSettings.__dataclass_fields__ if name in settings}
    try:
        SlowFastSettings(**known).check_slow_fast()
    except ValueError as error:
        raise UsageError(str(error)) from error


# What only some tasks have a use for, with how to name such a task.
_ONLY_WITH: dict[str, tuple[str, ...]] = {
    "task_params": ("gym:NAME",),
    "prompt_column": ("file",),
    "answer_column": ("file",),
    "difficulty": tuple(TASKS),
    "data_path": ("file", *TASKS),
}


def _check_task(options: Mapping[str, Any], by_flag: Mapping[str, Any]) -> None:
    task = options["task"]
    if not isinstance(task, str):
        return  # a configuration's null, which the parser names
    # A name wins over a file that happens to have it.
    if not (task in ("arithmetic", "file", *TASKS) or task.startswith("gym:")) and isfile(task):
        raise UsageError(f"--task {task} is a file: write --task file --data_path {task}")
    check_task(task)
    if task == "file" and options["data_path"] is None:
        raise UsageError("--task file needs a JSONL, CSV or parquet file: give it with --data_path")
    check_template(str(options["prompt_template"]))
    for name, tasks in _ONLY_WITH.items():
        if name in by_flag and ("gym:NAME" if task.startswith("gym:") else task) not in tasks:
            raise UsageError(
                f"--{name} has no effect with --task {task}: leave it out, or choose another task ({', '.join(tasks)})"
            )
