"""Grades responses: extraction, then the fast path, then a worker."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .extract import READ_AT_ONCE, boxed, committed_answer
from .fast_path import decide
from .pool import Pool, Task, shared_pool
from .verdict import Status, Verdict

TIME_LIMIT = 5.0


def grade(gold: str, response: str, time_limit: float = TIME_LIMIT) -> Verdict:
    """Whether the answer that `response` commits to equals `gold`.

    Args:
        gold: the right answer, as LaTeX or plain text, with or without a box.
        response: a model's full output.
        time_limit: seconds of processor time for the comparison; beyond it the status is "timeout".
    """
    return grade_all([(gold, response)], time_limit)[0]


def grade_all(
    pairs: Sequence[tuple[str, str]], time_limit: float = TIME_LIMIT, pool: Pool = shared_pool
) -> list[Verdict]:
    """`grade` for many (gold, response) pairs at once, in their order. Safe to call from any thread or process."""
    verdicts: list[Verdict | None] = []
    tasks: list[Task] = []
    for gold, response in pairs:
        started = time.perf_counter()
        status = _at_once(gold, response)
        verdicts.append(None if status is None else Verdict(status, time.perf_counter() - started))
        if status is None:
            tasks.append(Task(gold, response))
    judged = iter(pool.judge(tasks, time_limit))
    return [verdict if verdict is not None else next(judged) for verdict in verdicts]


def _at_once(gold: str, response: str) -> Status | None:
    """The verdict of an easy case, None where a worker has to look. Long texts are a worker's: it can be killed."""
    if max(len(gold), len(response)) > READ_AT_ONCE:
        return None
    expected, answer = committed_answer(boxed(gold)), committed_answer(response)
    if expected is None or answer is None:
        return "unparseable"
    easy = decide(expected.text, answer.text)
    return None if easy is None else "correct" if easy else "wrong"
