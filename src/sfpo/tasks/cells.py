"""Read one cell of a table as a text, a gold, an object, or the turns of a conversation."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from sfpo.errors import UsageError

Message = dict[str, str]
"""One turn of a conversation: its `role` and its `content`."""

_ROLES = ("system", "developer", "user", "assistant")
_TURNS_AS_TEXT = re.compile(r"""\s*\[\s*\{\s*["'](?:role|content|type|name)["']\s*:""")
_LARGEST_PLAIN = 10**15


@dataclass(frozen=True)
class Cell:
    """A value and its place in the table, for messages to the user."""

    value: Any
    column: str
    row: int
    table: str

    def refuse(self, what: str, remedy: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"row {self.row} of {self.table} has {what} in '{self.column}': {remedy}")


def as_text(cell: Cell) -> str:
    """A scalar as text, empty when it is missing.

    Raises:
        UsageError: it is a list, an object, or text that UTF-8 cannot encode.
    """
    value = cell.value
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                cell.refuse("half a character (not UTF-8 text)", "write it in UTF-8")
        return value
    if value is None or value != value:  # NaN differs from itself
        return ""
    if isinstance(value, (list, dict, tuple)):
        kind = "an object" if isinstance(value, dict) else f"a list of {len(value)}"
        cell.refuse(kind, "write it as text")
    if isinstance(value, bool):
        return str(value).lower()  # as JSON has it
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_PLAIN:
        return str(int(value))  # the AMC set publishes 142.0 for 142
    return str(value)


def as_gold(cell: Cell) -> str:
    """An answer as text. A list holds equivalent ways to write one answer; the first is used.

    Raises:
        UsageError: it is an object, or a list of different answers.
    """
    if not isinstance(cell.value, (list, tuple)):
        return as_text(cell)
    ways = [as_text(Cell(value, cell.column, cell.row, cell.table)) for value in cell.value]
    if ways and not _are_one(ways):
        cell.refuse(f"{len(ways)} different answers", "write the answer as one text")
    return ways[0] if ways else ""


def as_object(cell: Cell) -> dict[str, Any]:
    """An object, given as such or as JSON text, with its numbers as text; empty when it is missing.

    Raises:
        UsageError: it is neither.
    """
    value = cell.value
    if isinstance(value, str) and value.strip():
        value = _from_json(value)
    if value is None or value == "" or value != value:
        return {}
    if not isinstance(value, dict):
        cell.refuse("what is neither an object nor JSON of one", "write it with json.dumps")
    return value


def as_turns(cell: Cell) -> list[Message]:
    """A prompt as the turns of a conversation that ends with the user's turn. A text is one turn; a missing prompt, none.

    Turns may come as a list or as the JSON text of a list, and their content as a text or as parts of text.

    Raises:
        UsageError: the cell does not hold such turns.
    """
    value = cell.value
    if isinstance(value, str) and _TURNS_AS_TEXT.match(value):
        value = _from_json(value)
        if isinstance(value, str):
            cell.refuse("turns that are not JSON", "write them with json.dumps")
    if not isinstance(value, (list, tuple)):
        text = as_text(cell)
        return [{"role": "user", "content": text}] if text else []
    if value and all(isinstance(part, dict) and "role" not in part for part in value):
        text = _content(value, cell)
        return [{"role": "user", "content": text}] if text else []
    turns = [_turn(turn, cell) for turn in value]
    if turns and turns[-1]["role"] != "user":
        cell.refuse(f"a conversation that ends with {turns[-1]['role']}", "end it with what the user asks")
    return turns


def _turn(turn: Any, cell: Cell) -> Message:
    if not isinstance(turn, dict) or "content" not in turn:
        cell.refuse("a list that is no conversation", "write turns with a role and a content, or a text")
    role = turn.get("role")
    if role not in _ROLES:
        cell.refuse(f"a turn with the role {role}", f"use {', '.join(_ROLES)}")
    if any(turn.get(call) for call in ("tool_calls", "function_call", "tool_call_id")):
        cell.refuse("a turn that calls a tool", "write turns of text")
    return {"role": role, "content": _content(turn["content"], cell)}


def _content(content: Any, cell: Cell) -> str:
    """The text of a turn, whose content may be a list of parts as chat interfaces send it."""
    if not isinstance(content, (list, tuple)):
        return as_text(Cell(content, cell.column, cell.row, cell.table))
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str) or part.get("type", "text") not in ("text", "input_text", None):
            cell.refuse("a part that is not text", "write parts as {type: text, text: ...}, or a text")
        texts.append(as_text(Cell(text, cell.column, cell.row, cell.table)))
    return "".join(texts)


def _from_json(text: str) -> Any:
    """The value of JSON text, with its numbers as text; other text unchanged."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, strict=False)
    except (json.JSONDecodeError, RecursionError):
        return text


def _are_one(ways: Sequence[str]) -> bool:
    if len(set(ways)) == 1:
        return True
    from sfpo.grading import grade_all

    return all(verdict.correct for verdict in grade_all([(ways[0], f"\\boxed{{{way}}}") for way in ways[1:]]))
