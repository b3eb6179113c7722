"""Values of a configuration file as the types of the options that they are for."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from sfpo.errors import UsageError

_IN_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "'name: value' lines",
}


def typed(configuration: Mapping[str, Any], *classes: type) -> dict[str, Any]:
    """What a file sets, as fields of these dataclasses can hold it; texts and unknown options are left to the parser.

    The parser of flags reads texts alone, and takes whatever else a file holds as it is.

    Raises:
        UsageError: a value of another type than its field's.
    """
    hints = {name: hint for one in classes for name, hint in get_type_hints(one).items()}
    return {name: _as(name, value, hints[name]) if name in hints else value for name, value in configuration.items()}


def _as(name: str, value: Any, hint: Any) -> Any:
    allowed = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = {get_origin(kind) or kind for kind in allowed}
    if isinstance(value, str):
        return [value] if list in kinds and str not in kinds else value
    if type(value) in kinds or (type(value) is int and float in kinds):
        return value
    if str in kinds and not isinstance(value, list | dict | NoneType):
        return str(value)
    wanted = next((words for kind, words in _IN_WORDS.items() if kind in kinds), "text")
    raise UsageError(f"{name} in the configuration should be {wanted}, got {'null' if value is None else value}")
