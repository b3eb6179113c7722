"""What a task is: problems to train on, problems held out, and a reward for a completion."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

Reward = Callable[..., list[float | None]]
"""Called as TRL calls reward functions: `reward(prompts=..., completions=..., **columns)`, one value per completion, in
[0, 1] with 1 for a right answer, or None for a completion that cannot be judged."""


@dataclass(frozen=True)
class Task:
    """`train` and `held_out` have a column `prompt` and whatever columns `reward` takes; they share no problem.

    Prompts are texts, or all are conversations as TRL takes them: lists of turns with a `role` and a `content`.

    `note` is what the user should know of the data, in one line: what was left out, and why.
    """

    name: str
    train: Dataset
    held_out: Dataset
    reward: Reward
    note: str = ""


def is_held_out(problem: str, one_in: int = 8) -> bool:
    """Which half a problem belongs to, by its text alone, so that no seed can move it across."""
    return zlib.crc32(problem.encode()) % one_in == 0


def completion_text(completion: str | list[dict[str, Any]]) -> str:
    """The text of a plain or a conversational completion."""
    return completion if isinstance(completion, str) else "".join(str(turn["content"]) for turn in completion)
