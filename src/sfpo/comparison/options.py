"""What `sfpo compare` takes: its own options; all others are those of `sfpo train`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sfpo.comparison.first_look import Asked, asked
from sfpo.errors import UsageError
from sfpo.records.efficiency import TOO_FEW
from sfpo.training.options import Parsed, parse

_EVALUATIONS = 24
_ENOUGH_PROBLEMS = 512


@dataclass(frozen=True)
class CompareOptions(Asked):
    """What was asked for, and in `example` how the first run reads it."""

    example: Parsed

    @property
    def warning(self) -> str | None:
        """What makes the figures rougher than they need to be."""
        if self.example.command.eval_problems < _ENOUGH_PROBLEMS:
            return (
                f"{self.example.command.eval_problems} held-out problems tell accuracies apart only roughly: "
                f"leave --eval_problems at {_ENOUGH_PROBLEMS} or more for figures to rely on"
            )
        evaluations = 1 + self.example.training.max_steps // self.example.command.eval_every
        if self.example.training.max_steps > 0 and evaluations <= TOO_FEW:
            return (
                f"{evaluations} evaluations, the one before training included, do not tell when a target was reached: "
                "lower --eval_every"
            )
        return None


def parse_comparison(arguments: Sequence[str]) -> CompareOptions:
    """Options, checked for every variant before the first run starts.

    Raises:
        UsageError: an option that does not exist, or that some run would refuse.
    """
    wanted = asked(arguments)
    examples = [parse(variant.arguments_with(wanted.train)) for variant in wanted.variants]
    if any((one.training.logging_strategy, one.training.logging_steps) != ("steps", 1) for one in examples):
        raise UsageError(
            "a comparison counts the rollouts and seconds of every step: leave --logging_steps and --logging_strategy out"
        )
    train = [*wanted.train, *_evaluations(examples[0])]
    return CompareOptions(
        wanted.folder,
        wanted.methods,
        wanted.seeds,
        wanted.sweep,
        wanted.jobs,
        wanted.dry_run,
        train,
        wanted.variants,
        parse(wanted.variants[0].arguments_with(train)),
    )


def _evaluations(example: Parsed) -> list[str]:
    """A curve needs evaluations on the way."""
    if example.command.eval_every:
        return []
    steps = example.training.max_steps
    if steps <= 0:
        raise UsageError("a comparison evaluates on the way: give --max_steps, or --eval_every")
    return ["--eval_every", str(max(1, steps // _EVALUATIONS))]
