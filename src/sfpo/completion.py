"""`sfpo completion`: the script that completes the commands and options of `sfpo` in a shell."""

import argparse
from collections.abc import Sequence

from sfpo.comparison import first_look as compare
from sfpo.doctor import command as doctor
from sfpo.errors import UsageError
from sfpo.evaluation import options as evaluate
from sfpo.grading import command as grade
from sfpo.methods import METHODS
from sfpo.options import Parser
from sfpo.plan import hardware
from sfpo.plan import options as plan
from sfpo.report import command as report
from sfpo.tasks.catalog import KNOWN, TASKS, gym_names
from sfpo.tasks.templates import TEMPLATES
from sfpo.training import help as train

_SHELLS = ("bash", "zsh")


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo completion`; returns the exit code.

    Raises:
        UsageError: another shell, or the package that writes the scripts is not installed.
    """
    shell: str = _parser().parse_args(arguments).shell
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise UsageError("completion needs one more package: pip install 'sfpo[trl]'") from error
    print(shtab.complete(_all_commands(shtab.FILE), shell))
    return 0


def _parser() -> Parser:
    made = Parser(
        prog="sfpo completion",
        description='Print the script that completes the commands and options of sfpo. For bash: eval "$(sfpo completion '
        'bash)"; for zsh: write it to a file named _sfpo in a folder of $fpath.',
        allow_abbrev=False,
    )
    made.add_argument("shell", choices=_SHELLS)
    return made


def _all_commands(file: dict[str, str]) -> argparse.ArgumentParser:
    """A parser of all commands, to complete from; `file` is shtab's mark of what completes to a file."""
    root = argparse.ArgumentParser(prog="sfpo")
    root.add_argument("--version", action="store_true", help="print the version")
    commands = root.add_subparsers()
    of_train = train.parser(everything=True)
    parsers: dict[str, list[argparse.ArgumentParser]] = {
        "train": [of_train],
        "compare": [_without(of_train, compare.parser()), compare.parser()],
        "plan": [plan.parser()],
        "eval": [evaluate.parser_of()],
        "grade": [grade.parser()],
        "report": [report.parser()],
        "doctor": [doctor.parser()],
        "completion": [_parser()],
    }
    for name, parents in parsers.items():
        made = commands.add_parser(name, parents=parents, add_help=False, help=name)
        for action in made._actions:
            _complete_value(action, file)
    return root


def _without(parser: argparse.ArgumentParser, taken: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser with the options of `sfpo train` that `sfpo compare` takes and does not have itself."""
    made = argparse.ArgumentParser(add_help=False)
    others = {action.dest for action in taken._actions} | compare.SET_BY_COMPARE
    for action in parser._actions:
        if action.dest not in others:
            made._add_action(action)
    return made


_VALUES = {
    "method": tuple(METHODS),
    "hardware": hardware.NAMES,
    "prompt_template": ("auto", *TEMPLATES),
    "gate": ("exit", "reversible", "off"),
    "gate_sides": ("two", "upper"),
    "eval_benchmarks": tuple(KNOWN),
    "benchmarks": (*KNOWN, "all"),
}
_FILES = (
    "config", "data_path", "benchmark_data_path", "output_dir", "model", "model_config", "from", "check", "folder", "file",
    "output", "resume_from_checkpoint",
)  # fmt: skip


def _complete_value(action: argparse.Action, file: dict[str, str]) -> None:
    if action.dest == "task":
        action.choices = ["arithmetic", "file", *TASKS, *(f"gym:{name}" for name in gym_names())]
    elif action.dest in _VALUES:
        action.choices = _VALUES[action.dest]
    elif action.dest in _FILES:
        action.complete = file  # type: ignore[attr-defined]
