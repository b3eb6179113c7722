"""What to do after a run: its report, and the command that makes of the same settings what it should be compared with."""

from collections.abc import Sequence

from sfpo.methods import DEFAULT_METHOD, GRPO, METHODS
from sfpo.options import command_line, config_of, given, without

_OF_THIS_RUN = ("method", "output_dir", "resume_from_checkpoint", "dry_run")


def next_commands(arguments: Sequence[str], folder: str) -> tuple[str, str, str]:
    """The command that reports on a run, the method to compare it with (GRPO, or SFPO after GRPO), and the command for that.

    Args:
        arguments: those of `sfpo train` that made the run.
        folder: the run's.
    """
    own, config = given(arguments), config_of(arguments)
    made = str(own.get("method", config.get("method", DEFAULT_METHOD)))
    other = DEFAULT_METHOD if made == GRPO else GRPO
    left_out = [name for name in own if not METHODS[other].has(name)]
    again = without(arguments, *_OF_THIS_RUN, *METHODS[made].defaults, *METHODS[made].sets, *left_out)
    if "output_dir" in own or "output_dir" in config:
        again += ["--output_dir", f"{folder.rstrip('/')}-{other}"]
    return command_line("report", [folder]), other, command_line("train", ["--method", other, *again])
