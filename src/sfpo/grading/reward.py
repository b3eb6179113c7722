"""Reward functions in the form that TRL's trainers call: plain and chat completions, dataset columns as keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from .completion import Completion, final_text
from .extract import READ_AT_ONCE, committed_answer
from .golds import validate_golds
from .grade import grade_all
from .verdict import Status

_BOX = re.compile(r"\\boxed\s*\{")


def math_reward(
    completions: Sequence[Completion],
    answer: Sequence[object],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: object,
) -> list[float | None]:
    """1.0 for a completion whose final answer equals its gold, 0.0 for any other, None where the gold is invalid.

    Args:
        completions: strings, or conversations whose last message is the completion.
        answer: the gold of each completion. None, blank or undefined golds cannot be judged.
        log_metric: given by TRL; receives the shares of completions under `grading/unparseable`, `grading/timeout`,
            `grading/error` and `grading/invalid_gold`.
        columns: the other dataset columns, unused.
    """
    golds = ["" if gold is None else str(gold) for gold in answer]
    valid = [_is_valid(gold) for gold in golds]
    pairs = [(gold, final_text(c)) for gold, c, ok in zip(golds, completions, valid, strict=True) if ok]
    verdicts = grade_all(pairs)
    if log_metric is not None and completions:
        log_faults(log_metric, [verdict.status for verdict in verdicts])
        log_metric("grading/invalid_gold", 1 - sum(valid) / len(valid))
    rewards = iter(verdicts)
    return [float(next(rewards).correct) if ok else None for ok in valid]


def log_faults(log_metric: Callable[[str, float], None], statuses: Sequence[str]) -> None:
    """The shares of answers that were not judged, by the reason."""
    counted: tuple[Status, ...] = ("unparseable", "timeout", "error")
    for status in counted:
        log_metric(f"grading/{status}", statuses.count(status) / max(1, len(statuses)))


def format_reward(completions: Sequence[Completion], **columns: object) -> list[float]:
    """1.0 for a completion that ends in a non-empty \\boxed{} outside its reasoning, 0.0 for any other."""
    return [float(_is_well_formed(final_text(completion))) for completion in completions]


def _is_well_formed(response: str) -> bool:
    reasoning, closed, final = response.rpartition("</think>")
    if reasoning.count("<think>") > 1 or reasoning.count("</think>") > 0 or "<think>" in final:
        return False
    # A box further from the end than this is not what the response ends in.
    end = (final if closed else response)[-READ_AT_ONCE:]
    return _BOX.search(end) is not None and committed_answer(end) is not None


@lru_cache(maxsize=1 << 16)
def _is_valid(gold: str) -> bool:
    return not validate_golds([gold])
