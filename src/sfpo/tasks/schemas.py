"""Problems and answers from the columns of published maths sets.

The columns identify a set: verl's (`prompt` turns and `reward_model`), the cleaned DAPO's (`prompt`, `target`), MATH's
(`problem`, `solution`), GSM8K's (`question`, `answer` ending in `#### 42`), or plain `problem`/`question` with `answer`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sfpo.errors import UsageError
from sfpo.tasks.cells import Cell, Message, as_gold, as_object, as_text, as_turns
from sfpo.tasks.readers import Table
from sfpo.tasks.templates import bare_problem

_BOX = re.compile(r"\\f?boxed?\s*")
_LEVEL = re.compile(r"\d+")
_COUNT = re.compile(r"\d+(\.\d+)?")

# With the sign, currency or unit that goes with a number, but no bracket that would make it a list.
_THOUSANDS = re.compile(r"[^\d,()\[\]{}]*\d{1,3}(,\d{3})+(\.\d+)?[^\d,()\[\]{}]*")


@dataclass(frozen=True)
class Row:
    """`problem` comes without instructions, `shipped` is the set's own prompt, and a missing answer is empty.

    `context` holds the turns of a conversation before the problem, such as a system prompt. `difficulty` holds the set's own
    ratings of its problems: MATH's "level", or for Skywork the failures in 16 tries of each model that it names.
    """

    problem: str
    answer: str
    shipped: str
    id: str | None = None
    difficulty: dict[str, float] = field(default_factory=dict)
    context: tuple[Message, ...] = ()


def read_rows(table: Table) -> Iterator[Row]:
    """The rows of a data set, in order.

    Raises:
        UsageError: the columns match no known set, one of them is empty in every row, or a row holds an invalid value; the
            message then names the row.
    """
    convert, problem_column, answer_column = _converter(table)
    has_problem = has_answer = False
    count = 0
    for count, values in enumerate(table.rows, start=1):
        row = convert(partial(_cell, values, count, table.name))
        has_problem = has_problem or bool(row.problem)
        has_answer = has_answer or bool(row.answer)
        yield row
    for kind, column, has_any in (
        ("a problem", problem_column, has_problem),
        ("an answer", answer_column, has_answer),
    ):
        if count and not has_any:
            raise UsageError(f"no row of {table.name} has {kind} in '{column}': fill in that column")


def _cell(values: dict[str, Any], number: int, table: str, column: str) -> Cell:
    return Cell(values.get(column), column, number, table)


def asked(turns: list[Message]) -> tuple[str, tuple[Message, ...]]:
    """The text of the last turn, and the turns before it."""
    return (turns[-1]["content"], tuple(turns[:-1])) if turns else ("", ())


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


_Columns = Callable[[str], Cell]


def _converter(table: Table) -> tuple[Callable[[_Columns], Row], str, str]:
    """How to read a row, and which columns hold its problem and its answer."""
    columns = set(table.columns)
    if {"prompt", "reward_model"} <= columns:
        return _verl, "prompt", "reward_model"
    if {"prompt", "target"} <= columns:
        return _cleaned_dapo, "prompt", "target"
    for problem in ("problem", "question"):
        if {problem, "answer"} <= columns:
            return partial(_answered, problem), problem, "answer"
    if {"problem", "solution"} <= columns:
        return _solved, "problem", "solution"
    raise UsageError(
        f"{table.name} has the columns {', '.join(sorted(columns))}: it needs prompt and reward_model, prompt and target, "
        "problem and solution, or problem (or question) and answer"
    )


def _plain(row: _Columns, shipped: str, answer: str, context: tuple[Message, ...] = ()) -> Row:
    level = _LEVEL.search(_label(row("level")))
    return Row(
        problem=bare_problem(shipped),
        answer=answer.strip(),
        shipped=shipped,
        id=_label(row("id")) or None,
        difficulty={"level": float(level[0])} if level else {},
        context=context,
    )


def _label(cell: Cell) -> str:
    """What is good to have but not needed: nothing where it is more than a text."""
    return "" if isinstance(cell.value, (list, dict)) else as_text(cell)


def _answered(problem: str, row: _Columns) -> Row:
    return _plain(row, as_text(row(problem)), _final(as_gold(row("answer"))))


def _solved(row: _Columns) -> Row:
    return _plain(row, as_text(row("problem")), last_boxed(as_text(row("solution"))))


def _cleaned_dapo(row: _Columns) -> Row:
    shipped, context = asked(as_turns(row("prompt")))
    return _plain(row, shipped, as_gold(row("target")), context)


def _verl(row: _Columns) -> Row:
    shipped, context = asked(as_turns(row("prompt")))
    reward_model = row("reward_model")
    gold = as_gold(replace(reward_model, value=as_object(reward_model).get("ground_truth")))
    return Row(
        problem=bare_problem(shipped),
        answer=_first_listed(gold).strip(),
        shipped=shipped,
        difficulty=_failures(row("extra_info")),
        context=context,
    )


def _failures(extra_info: Cell) -> dict[str, float]:
    """Skywork's `model_difficulty`; in other sets this column may hold anything."""
    try:
        rated = as_object(extra_info).get("model_difficulty")
    except UsageError:
        return {}
    if not isinstance(rated, dict):
        return {}
    return {model: float(failures) for model, failures in rated.items() if _COUNT.fullmatch(str(failures))}


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
    """The answer at the end of a GSM8K solution, such as `#### 1,234`. Only commas between thousands are removed."""
    _, mark, final = answer.rpartition("####")
    if not mark:
        return answer
    final = final.strip()
    return final.replace(",", "") if _THOUSANDS.fullmatch(final) else final
