"""Problems and answers from the columns of published maths sets.

The columns identify a set: verl's (`prompt` turns and `reward_model`), the cleaned DAPO's (`prompt`, `target`), MATH's
(`problem`, `solution`), GSM8K's (`question`, `answer` ending in `#### 42`), or plain `problem`/`question` with `answer`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from sfpo.errors import UsageError
from sfpo.tasks.templates import bare_problem

_BOX = re.compile(r"\\f?boxed?\s*")
_LEVEL = re.compile(r"\d+")


@dataclass(frozen=True)
class Row:
    """`problem` comes without instructions, `shipped` is the set's own prompt, and a missing answer is empty.

    `difficulty` holds the set's own ratings of its problems: MATH's "level", or for Skywork the failures in 16 tries of
    each model that it names.
    """

    problem: str
    answer: str
    shipped: str
    id: str | None = None
    difficulty: dict[str, float] = field(default_factory=dict)


def read_rows(data: Dataset, name: str) -> Iterator[Row]:
    """The rows of a data set, in order.

    Raises:
        UsageError: the columns match no known set.
    """
    convert = _converter(set(data.column_names), name)
    for batch in data.iter(batch_size=1000):
        columns = list(batch)
        for values in zip(*batch.values(), strict=True):
            yield convert(dict(zip(columns, values, strict=True)))


def last_boxed(text: str) -> str:
    """The content of a solution's last box, or an empty text if it has no box."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return ""
    rest = text[boxes[-1].end() :]
    if not rest.startswith("{"):
        return rest[:1]  # MATH has a few without braces, such as \boxed 2
    depth = 0
    for position, character in enumerate(rest):
        escaped = position > 0 and rest[position - 1] == "\\"
        depth += {"{": 1, "}": -1}.get(character, 0) if not escaped else 0
        if depth == 0:
            return rest[1:position].strip()
    return ""


def _converter(columns: set[str], name: str) -> Callable[[dict[str, Any]], Row]:
    if {"prompt", "reward_model"} <= columns:
        return _verl
    if {"prompt", "target"} <= columns:
        return lambda row: _plain(row, _prompt(row["prompt"]), _text(row["target"]))
    for problem in ("problem", "question"):
        if {problem, "answer"} <= columns:
            return lambda row: _plain(row, _text(row[problem]), _final(_text(row["answer"])))
    if {"problem", "solution"} <= columns:
        return lambda row: _plain(row, _text(row["problem"]), last_boxed(_text(row["solution"])))
    raise UsageError(
        f"{name} has the columns {', '.join(sorted(columns))}: it needs prompt and reward_model, prompt and target, "
        "problem and solution, or problem (or question) and answer"
    )


def _plain(row: dict[str, Any], shipped: str, answer: str) -> Row:
    level = _LEVEL.search(_text(row.get("level")))
    return Row(
        problem=bare_problem(shipped),
        answer=answer.strip(),
        shipped=shipped,
        id=_text(row.get("id")) or None,
        difficulty={"level": float(level[0])} if level else {},
    )


def _verl(row: dict[str, Any]) -> Row:
    shipped = _prompt(row["prompt"])
    rated = (row.get("extra_info") or {}).get("model_difficulty") or {}
    return Row(
        problem=bare_problem(shipped),
        answer=_first_listed(_text((row["reward_model"] or {}).get("ground_truth"))).strip(),
        shipped=shipped,
        difficulty={model: float(failures) for model, failures in rated.items() if failures is not None},
    )


def _prompt(value: Any) -> str:
    """The text of a prompt that is a text or the turns of a conversation."""
    return "\n".join(_text(turn["content"]) for turn in value) if isinstance(value, list) else _text(value)


def _first_listed(answer: str) -> str:
    """The first entry of an answer that is a JSON list of equivalent ones, as in Skywork: `["1.499"]`."""
    if answer.startswith('["'):
        try:
            listed = json.loads(answer)
        except json.JSONDecodeError:
            return answer
        return str(listed[0])
    return answer


def _final(answer: str) -> str:
    """The answer at the end of a GSM8K solution, such as `#### 1,234`."""
    _, mark, final = answer.rpartition("####")
    return final.strip().replace(",", "") if mark else answer


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # the AMC set publishes 142.0 for 142
    return str(value)
