"""The `sfpo` command."""

import importlib
import signal
import sys
from collections.abc import Sequence

from sfpo import __version__, disk, interrupt
from sfpo.errors import UsageError
from sfpo.extras import MissingExtraError, named
from sfpo.methods import method_named
from sfpo.model import cpu
from sfpo.options import given

_COMMANDS = {
    "train": "sfpo.training.command",
    "compare": "sfpo.comparison.command",
    "plan": "sfpo.plan.command",
    "eval": "sfpo.evaluation.command",
    "grade": "sfpo.grading.command",
    "report": "sfpo.report.command",
}

_HELP = """usage: sfpo COMMAND ...

  train   train a language model on a task with SFPO, GRPO or an ablation (no argument needed)
  compare train with several methods and seeds; how many rollouts and seconds each needs for GRPO's best accuracy
  plan    memory and seconds of a run before it starts, and the K that is worth it
  eval    answer maths benchmarks with a model: pass@1 with its interval, pass@k, every answer with its verdict
  grade   grade one answer, or a file of answers, against the right ones
  report  write a run or a comparison as one HTML page, and its figures as PNG

sfpo COMMAND --help lists a command's options; sfpo --version prints the version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 2 for what the user can mend, 130 or 143 where the user stopped it."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(_HELP)
        return 0
    if command == "--version":
        print(__version__)
        return 0
    with interrupt.listening(signal.SIGINT, signal.SIGTERM):
        try:
            return _run(command, rest)
        except UsageError as error:
            print(f"sfpo {command}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"sfpo {command}: stopped", file=sys.stderr)
            return interrupt.exit_code()


def _run(command: str, arguments: list[str]) -> int:
    # Each command imports what only it needs: `sfpo --help` must not wait for torch and transformers.
    if command not in _COMMANDS:
        raise UsageError(f"there is no command '{command}': see sfpo --help")
    _check_methods(command, arguments)
    if command not in ("grade", "report"):
        cpu.before_torch()
    try:
        exit_code: int = importlib.import_module(_COMMANDS[command]).main(arguments)
    except ModuleNotFoundError as error:
        if not isinstance(known := named(error, "trl"), MissingExtraError):
            raise
        raise UsageError(str(known)) from error
    except Exception as error:
        if (refused := disk.refusal(error)) is None:
            raise
        raise UsageError(refused) from error
    return exit_code


def _check_methods(command: str, arguments: list[str]) -> None:
    """Refuse a misspelt method before torch and TRL are imported, which takes seconds."""
    named = given(arguments).get({"train": "method", "compare": "methods"}.get(command, ""))
    if isinstance(named, str):
        for entry in named.split(","):
            method_named(entry.partition(":")[0])


if __name__ == "__main__":
    sys.exit(main())
