"""The text of a completion, plain or a conversation, as TRL hands it to reward functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Completion = str | Sequence[Mapping[str, Any]]


def final_text(completion: Completion) -> str:
    """What the policy said last, which is what a reward judges: calls of tools and their results come before it."""
    if isinstance(completion, str):
        return completion
    return _said(completion[-1]) if completion else ""


def whole_text(turns: Completion) -> str:
    """All turns of a prompt or a completion, joined, which is what a record shows."""
    return turns if isinstance(turns, str) else "".join(_said(turn) for turn in turns)


def _said(turn: Mapping[str, Any]) -> str:
    """A message's content: a text, or parts of which some are text."""
    content = turn.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())
