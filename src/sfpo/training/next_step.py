"""What to do after a run: its report, and the command that makes of the same settings what it should be compared with."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from sfpo.methods import DEFAULT_METHOD, GRPO, METHODS, method_named
from sfpo.options import config_of, flags, given

_OF_THIS_RUN = ("method", "output_dir", "resume_from_checkpoint", "dry_run")


def next_commands(arguments: Sequence[str], folder: str) -> tuple[str, str]:
    """The command that reports on a run, and the one that repeats it with the other method: GRPO, or SFPO after GRPO.

    Args:
        arguments: those of `sfpo train` that made the run.
        folder: the run's.
    """
    own, config = given(arguments), config_of(arguments)
    made = str(own.get("method", config.get("method", DEFAULT_METHOD)))
    other = DEFAULT_METHOD if made == GRPO else GRPO
    again = ["train", "--method", other, *_kept(arguments, made, other)]
    if "output_dir" in own or "output_dir" in config:
        again += ["--output_dir", f"{folder.rstrip('/')}-{other}"]
    return shlex.join([*called(), "report", folder]), shlex.join([*called(), *again])


def called() -> list[str]:
    """The words that call `sfpo` here: not its name alone where it is not on the path, as in an inactive environment."""
    if Path(sys.argv[0]).name == "__main__.py":
        return [sys.executable, "-m", "sfpo"]
    return ["sfpo"] if shutil.which("sfpo") else [sys.argv[0]]


def _kept(arguments: Sequence[str], made: str, other: str) -> list[str]:
    """The user's settings, without those of the method that made the run."""
    of_other = method_named(other)
    left_out = {*_OF_THIS_RUN, *METHODS[made].defaults, *METHODS[made].sets}
    return [word for name, words in flags(arguments) if of_other.has(name) and name not in left_out for word in words]
