"""A task: problems to train on, problems held out, and a reward for a completion."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # datasets takes a second to import, and who only asks for a name should not wait for it
    from datasets import Dataset

Reward = Callable[..., "list[float | None]"]
"""A reward function as TRL calls it: `reward(prompts=..., completions=..., **columns)` returns one value per completion,
in [0, 1] with 1 for a right answer, or None for a completion that cannot be judged."""


@dataclass(frozen=True)
class Task:
    """`train` and `held_out` have a column `prompt` and the columns that `reward` takes; they share no problem.

    All prompts are texts, or all are conversations as TRL takes them: lists of turns with a `role` and a `content`.

    Args:
        reward: grades a completion; it may need the problems that `draw` returned.
        train_size: the number of problems to train on.
        held_out_size: that of those held out; at most so many where they are still to be drawn.
        draw: returns `train` and `held_out`, and calls what it is given after each problem.
        is_drawn: whether the problems are at hand, so that `draw` takes no time.
        note: tells the user in one line which data was dropped, and why.
    """

    name: str
    reward: Reward
    train_size: int
    held_out_size: int
    draw: Callable[[Callable[[], None]], tuple[Dataset, Dataset]]
    is_drawn: bool = False
    note: str = ""

    @classmethod
    def of(cls, name: str, train: Dataset, held_out: Dataset, reward: Reward, note: str = "") -> Task:
        """A task whose problems are at hand."""
        return cls(name, reward, len(train), len(held_out), lambda _: (train, held_out), True, note)

    def drawn(self, on_problem: Callable[[], None]) -> Task:
        """The task with its problems at hand; `on_problem` is called after each that had to be drawn."""
        return self if self.is_drawn else Task.of(self.name, *self.draw(on_problem), self.reward, self.note)

    @property
    def train(self) -> Dataset:
        return self._data[0]

    @property
    def held_out(self) -> Dataset:
        return self._data[1]

    @cached_property
    def _data(self) -> tuple[Dataset, Dataset]:
        return self.draw(lambda: None)


def is_held_out(problem: str, one_in: int = 8) -> bool:
    """Whether a problem is held out; its text alone decides, so that no seed can change it."""
    return zlib.crc32(problem.encode()) % one_in == 0
