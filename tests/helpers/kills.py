"""Real kills (SIGKILL) of a process at a chosen line, or in the middle of a file that it writes."""

import functools
import importlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import dill

from sfpo.records.lock import LOCK

KILLED, WHOLE, FAILED = "killed", "whole", "failed"


def forked(work: Callable[[], Any]) -> str:
    """Do something in a child of a fresh process, and say how that ended.

    The fresh process has imported the package and computed nothing. A child of a process that has used torch may find that
    torch's pool of threads is gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    server = _server()
    payload = dill.dumps(work, recurse=True)
    socket.send_fds(server, [struct.pack("!Q", len(payload))], [1, 2])
    server.sendall(payload)
    return struct.unpack("!16s", _received(server, 16))[0].rstrip(b"\0").decode()


@functools.cache
def _server() -> socket.socket:
    """The fresh process, which ends with this one."""
    ours, theirs = socket.socketpair()
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.Popen(
        [sys.executable, "-c", f"import kills; kills.serve({theirs.fileno()})"],
        env={**os.environ, "PYTHONPATH": paths},
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    return ours


def serve(descriptor: int) -> None:
    """Fork a child for each piece of work that arrives, with the sender's output, and reply how it ended."""
    import torch

    for command in ("sfpo.training.command", "sfpo.evaluation.command"):
        importlib.import_module(command)
    torch.set_num_threads(1)
    server = socket.socket(fileno=descriptor)
    while True:
        head, outputs, _, _ = socket.recv_fds(server, 8, 2)
        if not head:
            return
        payload = _received(server, struct.unpack("!Q", head)[0])
        child = os.fork()
        if child == 0:
            for standard, output in zip((1, 2), outputs, strict=True):
                os.dup2(output, standard)
            server.close()
            code = 1
            try:
                dill.loads(payload)()
                code = 0
            except SystemExit as ended_with:
                code = int(ended_with.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        for output in outputs:
            os.close(output)
        server.sendall(struct.pack("!16s", ended(child).encode()))


def _received(end: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = end.recv(size - len(received))
        if not part:
            raise EOFError("the process that forks has ended")
        received += part
    return received


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
