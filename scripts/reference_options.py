"""Write docs/reference/options.md: every option of every command, as the parsers know them.

    python scripts/reference_options.py            # write the page
    python scripts/reference_options.py --check    # exit 1 where it differs

TRL documents its own options; the page names those whose default is another here.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from unittest.mock import patch

from sfpo.evaluation.options import EvalOptions
from sfpo.model.embedded.recipe import EMBEDDED_RECIPE
from sfpo.trl.config import SFPOConfig, SlowFastFields

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "options.md"

_HEAD = """# Options

<!-- Written by `python scripts/reference_options.py` from the parsers; a test compares the two. -->

Every option of every command. A flag is written with hyphens or underscores. In a YAML file for `--config` the same names stand
without the two hyphens. Settings of `SFPOConfig` in a script have the names and defaults of the second table.
"""
_TRL = """
### TRL's

Every field of TRL's [`GRPOConfig`](https://huggingface.co/docs/trl/main/en/grpo_trainer#trl.GRPOConfig) and
[`ModelConfig`](https://huggingface.co/docs/trl/main/en/model_utils#trl.ModelConfig) is an option, too. These have another default:

| option | default | for |
|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the page differs")
    check = parser.parse_args().check
    wanted = page()
    if check:
        return int(PAGE.read_text() != wanted)
    PAGE.write_text(wanted)
    return 0


def page() -> str:
    """The whole page."""
    from sfpo.training import options as train

    text = _HEAD
    text += "\n## `sfpo train`\n\n### The command's own\n\n" + _of_dataclass(train.TrainOptions)
    text += "\n### SFPO's\n\n" + _of_dataclass(SlowFastFields, SFPOConfig)
    text += _TRL
    text += "".join(f"| `--{name}` | {_shown(value)} | all runs |\n" for name, value in train._DEFAULTS.items())
    text += "".join(
        f"| `--{name}` | {_shown(value)} | `--model embedded` |\n" for name, value in EMBEDDED_RECIPE.items()
    )
    text += "| `--use_cpu` | true | machines without an accelerator |\n"
    text += "| `--gradient_checkpointing` | false | machines without an accelerator |\n"
    text += "| `--bf16` | false | CPUs that multiply bf16 no faster than fp32 |\n"
    text += "\n## `sfpo compare`\n\nEvery option of `sfpo train` that is not listed here goes to every run.\n\n"
    text += _of_parser("sfpo.comparison.command")
    text += "\n## `sfpo eval`\n\n" + _of_dataclass(EvalOptions)
    for command, module in (("plan", "plan"), ("grade", "grading"), ("report", "report"), ("doctor", "doctor")):
        text += f"\n## `sfpo {command}`\n\n" + _of_parser(f"sfpo.{module}.command")
    return text


def _of_dataclass(options: type, *with_own_of: type) -> str:
    """Every field of a dataclass, and those that the others do not inherit."""
    given = [(options, f) for f in fields(options)]
    given += [(part, f) for part in with_own_of for f in fields(part) if f.name in part.__annotations__]
    return _table(
        (f"`--{f.name}`", _default(f), _type(get_type_hints(part)[f.name]), f.metadata)
        for part, f in given
        if f.metadata
    )


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser that a command makes, which it shows when asked for help."""
    made: list[argparse.ArgumentParser] = []
    keep = patch.object(argparse.ArgumentParser, "print_help", lambda parser, file=None: made.append(parser))
    with keep, suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    (parser,) = made
    return parser


def _of_parser(module: str) -> str:
    return _table(
        (
            f"`{action.option_strings[-1] if action.option_strings else (action.metavar or action.dest)}`",
            "" if action.nargs == 0 or action.default in (None, []) else _shown(action.default),
            "true or false" if action.nargs == 0 else "",
            {"help": action.help, "choices": action.choices},
        )
        for action in parser_of(module)._actions
        if action.dest != "help" and action.help != argparse.SUPPRESS
    )


def _table(rows: Iterable[tuple[str, str, str, Any]]) -> str:
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for option, default, kind, metadata in rows:
        # Help texts of argparse write a percent sign twice.
        meaning = str(metadata["help"]).replace("%%", "%").replace("|", "\\|")
        meaning = meaning[0].upper() + meaning[1:].rstrip(".") + "."
        if (choices := metadata.get("choices")) and not all(str(choice) in meaning for choice in choices):
            meaning += f" One of {', '.join(map(str, choices))}."
        if kind:
            meaning += f" ({kind})"
        lines.append(f"| {option} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(option: Field[Any]) -> str:
    default = option.default_factory() if option.default_factory is not MISSING else option.default
    return "" if default in (None, []) else _shown(default)


def _type(hint: Any) -> str:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    return "" if str in parts else ", ".join(names[part] for part in parts if part in names)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.exit(main())
