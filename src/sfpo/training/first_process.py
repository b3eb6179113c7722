"""Decisions that all processes must make alike, although they read files of which only the first one's are sure."""

from typing import TypeVar

from accelerate.utils import broadcast_object_list

_T = TypeVar("_T")


def as_the_first(value: _T) -> _T:
    """The first process's value, in every process; all of them must ask.

    A folder that is not shared lacks the records elsewhere, and in one that is, a process may read what the first is about to
    delete. Processes that decide apart whether to evaluate wait for each other for ever.
    """
    shared: _T = broadcast_object_list([value])[0]
    return shared
