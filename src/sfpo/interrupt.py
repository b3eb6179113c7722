"""Ctrl-C and SIGTERM: the first ends the work at its next good place, another one ends it at once.

Where there is work to finish (`finishing`), the first signal is only noted, and the work asks `requested`. Anywhere else it
raises `Interrupted`. Signals belong to a process, so what is known of them does, too.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

# Launchers such as torchrun and uv pass on to a process what the terminal has sent it already.
_ECHO_SECONDS = 0.2
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """The user asked to stop."""


@dataclass
class _Heard:
    number: int | None = None
    time: float = 0.0
    work: str | None = None
    ends_at_second: bool = True


_heard = _Heard()
_listens_to: tuple[int, ...] = ()


@contextlib.contextmanager
def listening(*numbers: int, ends_at_second: bool = True) -> Iterator[None]:
    """Take these signals, of the main thread only, as requests to stop.

    Args:
        ends_at_second: whether a second signal ends the process at once.
    """
    global _heard, _listens_to
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _heard, _listens_to
    _heard, _listens_to = _Heard(ends_at_second=ends_at_second), numbers
    handlers = {number: signal.signal(number, _hear) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _heard, _listens_to = before


@contextlib.contextmanager
def finishing(work: str) -> Iterator[None]:
    """Within, a first signal leaves the work to end where it asks `requested` or calls `check`.

    Args:
        work: what will be finished, in words, for the user who waits.
    """
    check()
    outer, _heard.work = _heard.work, work
    try:
        yield
    finally:
        _heard.work = outer


def requested() -> bool:
    """Whether the user asked to stop."""
    return _heard.number is not None


def check() -> None:
    """Raises Interrupted where the user asked to stop."""
    if requested():
        raise Interrupted


def exit_code() -> int:
    """What shells expect of a process that a signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_heard.number or signal.SIGINT)


def _hear(number: int, frame: FrameType | None) -> None:
    if _heard.number is None:
        _heard.number, _heard.time = number, time.monotonic()
        if _heard.work is None:
            raise Interrupted
        again = "; once more ends it at once" if _heard.ends_at_second else ""
        _say(f"\nStopping after {_heard.work}{again}.\n".encode())
    elif _heard.ends_at_second and time.monotonic() - _heard.time > _ECHO_SECONDS:
        # Nothing is left to tidy up: workers end with the process that they work for.
        _say(b"\n" + (_SHOW_CURSOR if os.isatty(2) else b""))
        os._exit(128 + number)


def _say(text: bytes) -> None:
    # Not through Python's streams, in the middle of whose work a signal may come.
    with contextlib.suppress(OSError):
        os.write(2, text)


def _leave_to_parent() -> None:
    """In a forked worker: Ctrl-C is for the process that it works for, and SIGTERM ends it as it does any other."""
    global _heard, _listens_to
    for number in _listens_to:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    _heard, _listens_to = _Heard(), ()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_leave_to_parent)
