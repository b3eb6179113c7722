"""Any procedural task of reasoning-gym, graded by its own scorer; wrong numbers that contain the right one's digits get 0.

The scorer runs in worker processes (`gym_scorer.py`) with the limits of the mathematical grader: what a model wrote can
neither hold up the training process nor eat its memory."""

import re
from collections.abc import Callable
from typing import Any

import reasoning_gym
import yaml
from datasets import Dataset
from reasoning_gym.factory import DATASETS

from sfpo.errors import UsageError
from sfpo.grading import Pool, final_text
from sfpo.grading.extract import READ_AT_ONCE, committed_answer
from sfpo.grading.grade import TIME_LIMIT
from sfpo.grading.pool import FINAL, StartError
from sfpo.grading.pool import Task as Question
from sfpo.grading.reward import log_faults
from sfpo.tasks.catalog import check_gym
from sfpo.tasks.gym_scorer import packed
from sfpo.tasks.task import Reward, Task, is_held_out

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_BOX = re.compile(r"\\boxed(?![A-Za-z])")
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")

# One problem in eight is held out. If drawing this many times the requested number is not enough, there are too few.
_DRAWS_PER_PROBLEM = 40


def load(name: str, parameters: list[str], train_problems: int, eval_problems: int, seed: int) -> Task:
    """The reasoning-gym task `name`; `parameters` are `key=value` settings of its configuration.

    Its problems are drawn when they are first needed, since some tasks take 50 ms for each.

    Raises:
        UsageError: the name or a parameter is unknown, a value is not accepted, or, when the problems are drawn, there are
            too few different ones.
    """
    if name not in DATASETS:
        check_gym(name)
    settings = dict(_parameter(text) for text in parameters)
    # One problem shows whether reasoning-gym takes the parameters.
    _draw(name, settings, seed, 1, held_out=False, on_problem=_nothing)
    pool = Pool(judge=("sfpo.tasks.gym_scorer", packed((name, seed, settings))))
    entries: list[dict[str, Any]] = []

    def draw(on_problem: Callable[[], None]) -> tuple[Dataset, Dataset]:
        train = _draw(name, settings, seed, train_problems, held_out=False, on_problem=on_problem)
        held_out = _draw(name, settings, 0, eval_problems, held_out=True, on_problem=on_problem)
        entries[:] = train + held_out
        return _dataset(train, first=0), _dataset(held_out, first=len(train))

    return Task(f"gym:{name}", _reward(pool, entries), train_problems, eval_problems, draw)


def scored_text(response: str, gold: str) -> str:
    """What reasoning-gym's scorer gets to see of a response: a tagged answer as it is, the answer that the response commits
    to where that is boxed or a number is asked for, and its last line otherwise."""
    if tagged := _TAGGED.findall(response):
        return str(tagged[-1]).strip()
    asks_for_a_number = _NUMBER.fullmatch(gold.strip()) is not None
    if asks_for_a_number or _BOX.search(response):
        answer = committed_answer(response) if len(response) <= READ_AT_ONCE else None
        if answer is None:
            return ""
        if not asks_for_a_number:
            return answer.text.strip()
        # The scorers compare text: "7 apples" is 7 to them only without the word.
        numbers = _NUMBER.findall(answer.text.rpartition("=")[2])
        return str(numbers[0]).rstrip(",") if len(numbers) == 1 else ""
    lines = response.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _parameter(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"'{text}' is not a task parameter: write --task_params name=value [name=value ...]")
    return key.strip(), yaml.safe_load(value)


def _draw(
    name: str, settings: dict[str, Any], seed: int, count: int, *, held_out: bool, on_problem: Callable[[], None]
) -> list[dict[str, Any]]:
    """`count` problems of one half; training problems may repeat where there are few, held-out problems never do."""
    kept: list[dict[str, Any]] = []
    seen: set[str] = set()
    try:
        source = reasoning_gym.create_dataset(name, seed=seed, size=count * _DRAWS_PER_PROBLEM, **settings)
        for entry in source:
            question = entry["question"]
            if is_held_out(question) != held_out or (held_out and question in seen):
                continue
            seen.add(question)
            kept.append(entry)
            on_problem()
            if len(kept) == count:
                break
    except (AssertionError, TypeError, ValueError) as error:
        # reasoning-gym checks a configuration with assertions and lets Python name unknown fields.
        raise UsageError(f"reasoning-gym does not take these parameters for '{name}': {error}") from error
    if len(kept) < (1 if held_out else count):
        raise UsageError(f"'gym:{name}' has too few different problems with these parameters: widen them")
    return kept


def _nothing() -> None:
    pass


def _dataset(entries: list[dict[str, Any]], first: int) -> Dataset:
    return Dataset.from_dict(
        {
            "prompt": [entry["question"] for entry in entries],
            "answer": [str(entry["answer"]) for entry in entries],
            "entry": list(range(first, first + len(entries))),
        }
    )


def _reward(pool: Pool, entries: list[dict[str, Any]]) -> Reward:
    def score(
        completions: list[Any],
        entry: list[int],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        problems = {index: packed(entries[index]) for index in set(entry)}  # a group shares one
        golds = [str(entries[index]["answer"]).strip() for index in entry]
        answers = [scored_text(final_text(c), gold) for c, gold in zip(completions, golds, strict=True)]
        try:
            outcomes = pool.ask(
                [Question(problems[index], answer) for index, answer in zip(entry, answers, strict=True)], TIME_LIMIT
            )
        except (StartError, OSError) as error:
            raise UsageError(f"the processes that score answers with reasoning-gym do not start: {error}") from error
        statuses = [outcome.status for outcome in outcomes]
        if log_metric is not None and statuses:
            log_faults(log_metric, [FINAL.get(status, "") for status in statuses])
        # What a scorer cannot read, or not within its limits, is worth nothing.
        marks = [0.0 if status in FINAL else float(status) for status in statuses]
        return [
            0.0 if mark < 1.0 and _contains_digits(answer, gold) else mark
            for mark, answer, gold in zip(marks, answers, golds, strict=True)
        ]

    return score


def _contains_digits(answer: str, gold: str) -> bool:
    """Whether both are numbers and the answer contains the gold's digits, as 128 contains 2.

    Many of reasoning-gym's scorers give partial credit to a text that contains the answer. With numbers, a policy learns to
    earn that credit by writing long ones, and forgets the question.
    """
    return bool(gold in answer and _NUMBER.fullmatch(answer) and _NUMBER.fullmatch(gold))
