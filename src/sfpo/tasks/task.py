"""A task: problems to train on, problems held out, and a reward for a completion."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from datasets import Dataset

Reward = Callable[..., list[float | None]]
"""A reward function as TRL calls it: `reward(prompts=..., completions=..., **columns)` returns one value per completion,
in [0, 1] with 1 for a right answer, or None for a completion that cannot be judged."""


@dataclass(frozen=True)
class Task:
    """`train` and `held_out` have a column `prompt` and the columns that `reward` takes; they share no problem.

    All prompts are texts, or all are conversations as TRL takes them: lists of turns with a `role` and a `content`.

    `note` tells the user in one line which data was dropped, and why.
    """

    name: str
    train: Dataset
    held_out: Dataset
    reward: Reward
    note: str = ""


def is_held_out(problem: str, one_in: int = 8) -> bool:
    """Whether a problem is held out; its text alone decides, so that no seed can change it."""
    return zlib.crc32(problem.encode()) % one_in == 0
