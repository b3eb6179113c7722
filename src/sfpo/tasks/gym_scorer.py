"""The scorer of a reasoning-gym task as the judge of grading's workers, which can be killed.

Many scorers give a model's text to SymPy's parser, which evaluates it: `7**10**9` would hold the trainer for ever, and
code would run in it. Settings and entries travel to the worker by pickle, since they hold tuples, dates and the like; only
marks, as text, come back.
"""

from __future__ import annotations

import base64
import os
import pickle
from collections.abc import Callable
from typing import Any


def packed(value: object) -> str:
    """A value as text that a worker can make it of again."""
    return base64.b64encode(pickle.dumps(value)).decode()


def load_judge(scorer: str) -> Callable[[str, str], str]:
    """The judge that answers with a mark.

    Args:
        scorer: `packed` name, seed and settings of the task. The judge takes a `packed` entry for its gold.
    """
    # Every thread of a library for matrices reserves address space, which is limited here, and the child has none of them.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    import reasoning_gym

    name, seed, settings = _unpacked(scorer)
    task = reasoning_gym.create_dataset(name, seed=seed, size=1, **settings)

    def judge(entry: str, answer: str) -> str:
        return repr(float(task.score_answer(answer, _unpacked(entry))))

    return judge


def _unpacked(text: str) -> Any:
    return pickle.loads(base64.b64decode(text))
