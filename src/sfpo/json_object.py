"""JSON objects in files that somebody may have cut, edited or replaced since sfpo wrote them."""

import json
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias

from sfpo.errors import UsageError

Shape: TypeAlias = "type | UnionType | list[Shape] | dict[str, Shape] | tuple[Shape, ...]"
"""What a value must be: of a type, a list of one item that shows the shape of all, an object with these keys and maybe more, or
one of the shapes in a tuple."""


def read_object(path: Path, shape: dict[str, Shape], remedy: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        remedy: what the user can do if the file is damaged; it ends the message.

    Raises:
        FileNotFoundError: there is no file.
        UsageError: the file holds something else; the message names it and says what is wrong.
    """
    if path.exists() and not path.is_file():  # reading a FIFO may wait for ever
        raise UsageError(f"{path} is no regular file: {remedy}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}): {remedy}") from error
    if (wrong := flaw(value, shape)) is not None:
        raise UsageError(f"{path} {wrong}: {remedy}")
    read: dict[str, Any] = value
    return read


def flaw(value: Any, shape: Shape, name: str = "") -> str | None:
    """What keeps a value from having a shape, in words that follow its name, such as "has no 'seeds'"; None if nothing does."""
    if isinstance(shape, tuple):
        alternatives = [flaw(value, one, name) for one in shape]
        return None if None in alternatives else alternatives[-1]
    if isinstance(shape, dict) and isinstance(value, dict):
        inner = [(name and f"{name}.") + key for key in shape]
        flaws = (
            flaw(value[key], shape[key], full) if key in value else f"has no '{full}'"
            for key, full in zip(shape, inner, strict=True)
        )
    elif isinstance(shape, list) and isinstance(value, list):
        flaws = (flaw(item, shape[0], f"{name}[{index}]") for index, item in enumerate(value))
    elif isinstance(shape, dict | list) or not _is_of(value, shape):
        shown = json.dumps(value)
        shown = shown if len(shown) <= 40 else f"{shown[:40]} …"
        return f"has {shown} as '{name}'" if name else f"holds {shown} instead of an object"
    else:
        return None
    return next((found for found in flaws if found is not None), None)


def _is_of(value: Any, kind: type | UnionType) -> bool:
    if isinstance(value, bool):  # to Python alone a whole number, too
        return kind in (bool, object)
    return isinstance(value, kind)
