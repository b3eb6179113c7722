"""How every command reads what the user wrote: flags, YAML configurations, and what is wrong with them in one line."""

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sfpo.errors import UsageError
from sfpo.fields import Option
from sfpo.nearest import did_you_mean

LARGEST = 2**31 - 1
"""The largest count or size: what a signed number of 32 bits holds."""


class OneLineErrors:
    """Lets an argument parser say what is wrong in one line instead of after pages of flags."""

    prog: str

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


class Parser(OneLineErrors, argparse.ArgumentParser):
    """The parser of a command."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{hint}") from None

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, with what was probably meant where there is no such option."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [option.lstrip("-") for action in self._actions for option in action.option_strings]
            hint = did_you_mean(unknown[0].partition("=")[0].lstrip("-–—"), names, "--{}")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return options


def add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    """Add an option of a dataclass as the parsers of transformers and TRL would; a switch may be given without a value."""
    how: dict[str, Any] = {"default": option.default}
    if option.kind == "switch":
        how |= {"nargs": "?", "const": True, "type": truth, "metavar": "true|false"}
    elif option.kind == "words":
        how |= {"nargs": "+", "metavar": "WORD"}
    else:
        types = {"whole": (int, "N"), "number": (float, "X"), "text": (str, "TEXT")}
        how["type"], how["metavar"] = types[option.kind]
    parser.add_argument(f"--{option.name}", help=option.described().replace("%", "%%"), **how)


def truth(text: str) -> bool:
    """True or false as a flag spells it."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"should be true or false, got '{text}'")
    return text.lower() == "true"


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """The words of a command with underscores in the flags, as `flags` reads them."""
    return [word for _, words in flags(arguments) for word in words]


def flags(arguments: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each flag's name with the words that it is written in; `--no_x` is named x, and what precedes the first flag "".

    Hyphens in a flag become underscores, since the parsers of transformers and TRL read both.
    """
    found: list[tuple[str, list[str]]] = []
    for word in arguments:
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            flag = flag.replace("-", "_")
            found.append((flag.removeprefix("no_"), [f"--{flag}{equals}{value}"]))
        elif found:
            found[-1][1].append(word)
        else:
            found.append(("", [word]))
    return found


def given(arguments: Sequence[str]) -> dict[str, Any]:
    """What flags set, as far as it can be told without the command's parser: see `value_of`."""
    values: dict[str, Any] = {}
    for name, (flag, *words) in flags(arguments):
        if not name:
            continue
        _, is_joined, joined = flag.partition("=")
        texts = [joined] if is_joined else words
        if texts:
            values[name] = value_of(texts[0]) if len(texts) == 1 else texts
        else:
            values[name] = not flag.startswith("--no_")
    return values


def value_of(text: str) -> Any:
    """A number, true or false if the text spells one, else the text."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def config_of(arguments: Sequence[str]) -> dict[str, Any]:
    """What the file that `--config` names says, nothing without the flag.

    Raises:
        UsageError: see `read_config`.
    """
    path, _ = split_config(arguments)
    return {} if path is None else read_config(path)


def split_config(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file that `--config` names, None without the flag, and the other arguments."""
    path, others = None, []
    for name, (flag, *words) in flags(arguments):
        if name == "config":
            _, is_joined, joined = flag.partition("=")
            path, *words = [joined, *words] if is_joined else words or ["(no name was given)"]
            others += words
        else:
            others += [flag, *words]
    return path, others


def read_config(path: str) -> dict[str, Any]:
    """A YAML file of options.

    Raises:
        UsageError: there is no such file, or it is not YAML of options and values.
    """
    import yaml  # not needed by a command without configurations, nor there on a machine with torch alone

    try:
        config = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"there is no configuration file {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} must hold 'option: value' lines")
    return {str(name): value for name, value in config.items()}


def command_line(command: str, arguments: Sequence[str]) -> str:
    """What the user types for a command: `sfpo`, or how it was called in a virtual environment that is not activated."""
    program = ["sfpo"] if shutil.which("sfpo") else [sys.argv[0]]
    if Path(sys.argv[0]).parts[-2:] == ("sfpo", "__main__.py"):
        program = [Path(sys.executable).name, "-m", "sfpo"]
    return shlex.join([*program, command, *arguments])


def without(arguments: Sequence[str], *names: str) -> list[str]:
    """The arguments but these flags and their values."""
    return [word for name, words in flags(arguments) if name not in names for word in words]


def free_folder(stem: str) -> str:
    """A folder under `runs/` that no run has taken, for when none is named."""
    stem = stem.replace(":", "-").replace("/", "-")
    number, folder = 1, Path("runs") / stem
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{stem}-{number}"
    return str(folder)


def check_at_least(minimum: int, options: Any, *names: str) -> None:
    """Refuse numbers below the minimum, or larger than any count; None is none.

    Raises:
        UsageError: naming the first such option.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and value < minimum:
            raise UsageError(f"--{name} must be at least {minimum}, got {value}")
        if value is not None and value > LARGEST:
            raise UsageError(f"--{name} must be at most {LARGEST:,}, got {value}")
