"""Real kills (SIGKILL) of a forked process at a chosen line, or in the middle of a file that it writes."""

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from sfpo.records.lock import LOCK

KILLED, WHOLE, FAILED = "killed", "whole", "failed"


def forked(work: Callable[[], Any]) -> str:
    """Do something in a child process, and say how that ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except SystemExit as ended_with:
            code = int(ended_with.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return ended(child)


def ended(child: int) -> str:
    """How a child process ends."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXFSZ)
        return KILLED
    return WHOLE if os.waitstatus_to_exitcode(status) == 0 else FAILED


def kill_at_line(number: int, files: Iterable[str], functions: Iterable[str] = ()) -> Callable[[], int]:
    """Kill this process before the `number`-th line, from 1, that runs from now on in these files, or in functions so named.

    Files are given by the ends of their paths. Frames that run already are not watched. Returns what counts the lines so far.
    """
    files, functions = tuple(files), frozenset(functions)
    count = 0

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        return on_line if code.co_filename.endswith(files) or code.co_name in functions else None

    sys.settrace(on_call)
    return lambda: count


def kill_in_file(size: int) -> None:
    """Have the system kill this process in the middle of the first file that grows beyond `size` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their names in it, but the lock of a command that was killed: the next one removes it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }
