"""The `sfpo` command."""

import importlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sfpo import __version__, disk, interrupt
from sfpo.errors import UsageError, one_line
from sfpo.extras import MissingExtraError, named
from sfpo.model import cpu
from sfpo.nearest import did_you_mean


@dataclass(frozen=True)
class _Command:
    """Where a command is, and what looks at its arguments before the libraries are imported that take seconds."""

    module: str
    first_look: str | None = None
    needs_torch: bool = True


_COMMANDS = {
    "train": _Command("sfpo.training.command", "sfpo.training.first_look"),
    "compare": _Command("sfpo.comparison.command", "sfpo.comparison.first_look"),
    "plan": _Command("sfpo.plan.command", "sfpo.training.recipe_look"),
    "eval": _Command("sfpo.evaluation.command", "sfpo.evaluation.options"),
    "grade": _Command("sfpo.grading.command", needs_torch=False),
    "report": _Command("sfpo.report.command", needs_torch=False),
    "doctor": _Command("sfpo.doctor.command", needs_torch=False),
    "completion": _Command("sfpo.completion", needs_torch=False),
}

_HELP = """usage: sfpo COMMAND ...

  train      train a language model on a task with SFPO, GRPO or an ablation (no argument needed)
  compare    train with several methods and seeds; how many rollouts and seconds each needs for GRPO's best
             accuracy
  plan       memory and seconds of a run before it starts, and the K that is worth it
  eval       answer maths benchmarks with a model: pass@1 with its interval, pass@k, every answer with its verdict
  grade      grade one answer, or a file of answers, against the right ones
  report     write a run or a comparison as one HTML page, and its figures as PNG
  doctor     check this installation and this machine: what works, what does not, the command that mends it
  completion print the script that completes these commands in bash or zsh

sfpo COMMAND --help lists a command's options; sfpo --version prints the version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 2 for what the user can mend, 130 or 143 where the user stopped it."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help", "help"):
        print(_HELP)
        return 0
    if command in ("-V", "--version", "version"):
        print(__version__)
        return 0
    with interrupt.listening(signal.SIGINT, signal.SIGTERM):
        try:
            return _run(command, rest)
        except UsageError as error:
            print(one_line(f"sfpo {command}: {error}"), file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(one_line(f"sfpo {command}: stopped"), file=sys.stderr)
            return interrupt.exit_code()


def _run(name: str, arguments: list[str]) -> int:
    # Each command imports what only it needs: `sfpo --help` must not wait for torch and transformers.
    if name not in _COMMANDS:
        raise UsageError(f"there is no command '{name}'{did_you_mean(name, _COMMANDS)}: see sfpo --help")
    command = _COMMANDS[name]
    try:
        if command.first_look is not None:
            importlib.import_module(command.first_look).first_look(arguments)
        if command.needs_torch:
            cpu.before_torch()
        exit_code: int = importlib.import_module(command.module).main(arguments)
    except ModuleNotFoundError as error:
        if not isinstance(known := named(error, "trl"), MissingExtraError):
            raise
        raise UsageError(str(known)) from error
    except Exception as error:
        if (refused := disk.refusal(error)) is None:
            raise
        raise UsageError(refused) from error
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
