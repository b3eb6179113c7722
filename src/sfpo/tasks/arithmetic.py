"""The embedded task: sums and differences of three or four numbers up to 29.

A prompt is `17+5-23=`. The policy may answer at once (`-1`) or write its steps out (`17+5=22;22-23=-1`); its answer is
the text after the last `=`. Answers become right when the policy writes its steps out, so reinforcement learning can
discover reasoning here, and responses grow as it does.

A hash of its text assigns every problem to one of two halves, so held-out problems never occur in training, whatever
the seeds.
"""

import random
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from datasets import Dataset

from sfpo.grading import final_text
from sfpo.tasks.task import Task, is_held_out

MAX_NUMBER = 29

Split = Literal["train", "held_out"]

_NUMBER = re.compile(r"-?\d+")
_TERM = re.compile(r"[+-]?\d+")


def problems(split: Split, seed: int) -> Iterator[str]:
    """Endless stream of one half's prompts, such as `17+5-23=`; equal seeds give equal streams."""
    rng = random.Random(f"{split}-{seed}")
    while True:
        terms = [rng.randint(0, MAX_NUMBER) for _ in range(rng.choice((3, 4)))]
        prompt = str(terms[0]) + "".join(f"{rng.choice('+-')}{term}" for term in terms[1:]) + "="
        if is_held_out(prompt) == (split == "held_out"):
            yield prompt


def solve(prompt: str) -> int:
    """The value of a prompt's expression."""
    return sum(int(term) for term in _TERM.findall(prompt.rstrip("=")))


def written_out(prompt: str) -> str:
    """The completion that writes out one operation at a time, from the left: `17+5=22;22-23=-1`."""
    first, *terms = _TERM.findall(prompt.rstrip("="))
    total, steps = int(first), []
    for term in terms:  # such as "-23"
        steps.append(f"{total}{term}={total + int(term)}")
        total += int(term)
    return ";".join(steps)


def final_answer(completion: str) -> int | None:
    """The number after the last `=` of a completion, or None if no well-formed number stands there."""
    answer = completion.rsplit("=", 1)[-1]
    return int(answer) if _NUMBER.fullmatch(answer) else None


def load(train_problems: int, eval_problems: int, seed: int) -> Task:
    """The task as data; `seed` chooses the training problems, while the held-out ones are always the same."""
    train, held_out = _dataset("train", train_problems, seed), _dataset("held_out", eval_problems, 0)
    return Task.of("arithmetic", train, held_out, right_answer)


def right_answer(completions: list[Any], answer: list[int], **columns: Any) -> list[float | None]:
    """1 for the right number after the last `=`, else 0."""
    return [
        float(final_answer(final_text(completion)) == value)
        for completion, value in zip(completions, answer, strict=True)
    ]


def _dataset(split: Split, count: int, seed: int) -> Dataset:
    prompts = list(islice(problems(split, seed), count))
    return Dataset.from_dict({"prompt": prompts, "answer": [solve(prompt) for prompt in prompts]})
