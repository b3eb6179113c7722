"""The supervisor of a grading process: passes requests on to a child that it can end and fork anew.

One JSON line per request, and one per reply, which repeats the request's id. What the judge needs, such as SymPy, is
imported once, in the supervisor; a child is replaced in milliseconds when its answer took all the processor time it is
allowed, when the wall clock says that something stopped it, and when it ran out of memory. The supervisor and its child end
with their caller, even one that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from .child import serve
from .inbox import Inbox

# How often a supervisor looks whether its caller lives: another process may hold the caller's end of the pipe open.
_LOOK_SECONDS = 1.0


class _CallerLostError(Exception):
    """Nobody waits for a reply."""


def supervise(judge: Callable[[str, str], str], requests: int, replies: int, memory_limit: int, caller: int) -> None:
    """Answers requests until the caller closes its end or dies.

    Args:
        judge: the status of a response, given its gold and itself. Called in the child.
        requests: file descriptor to read from.
        replies: file descriptor to write to.
        memory_limit: address space of the child in bytes.
        caller: process id.
    """
    inbox = Inbox(requests)
    child: _Child | None = None
    with contextlib.suppress(_CallerLostError, BrokenPipeError):
        try:
            child = _Child(judge, memory_limit, not_for_it=(requests, replies))
            _write(replies, {"ready": True})
            while True:
                _wait([requests], [], caller)
                for request in _received(inbox):
                    if not child.lives():
                        child = _Child(judge, memory_limit, not_for_it=(requests, replies))
                    status, seconds = child.ask(request, requests, caller)
                    _write(replies, {"id": request["id"], "status": status, "seconds": seconds})
        finally:
            if child is not None:
                child.end()


class _Child:
    """A process that judges one answer after another, with a pipe to it and one from it."""

    def __init__(self, judge: Callable[[str, str], str], memory_limit: int, not_for_it: Iterable[int]) -> None:
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            # The caller and the supervisor each see the other's end only while nobody else holds the pipes.
            for descriptor in (*not_for_it, self._requests, self._replies):
                os.close(descriptor)
            serve(judge, requests, replies, memory_limit)
        os.close(requests)
        os.close(replies)
        os.set_blocking(self._requests, False)
        self._inbox = Inbox(self._replies)
        self._used = 0.0
        self._exit: int | None = None

    def lives(self) -> bool:
        """Whether it still waits for requests; reaps it where it does not."""
        return self._exit is None and not self._reap(os.WNOHANG)

    def ask(self, request: dict[str, Any], caller_pipe: int, caller: int) -> tuple[str, float]:
        """Its status for an answer and the processor time it took.

        "timeout" where its processor time ended it, "stalled" where the wall clock did, "lost" where something else did.

        Raises:
            _CallerLostError: the caller ended meanwhile.
        """
        deadline = time.monotonic() + request["wall_limit"]
        unsent = memoryview(json.dumps(request).encode() + b"\n")
        while True:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                while unsent:
                    unsent = unsent[os.write(self._requests, unsent) :]
            writes = [self._requests] if unsent else []
            if caller_pipe in _wait([caller_pipe, self._replies], writes, caller, deadline):
                # It sends nothing while it waits for a reply: this is its end.
                raise _CallerLostError
            messages = self._inbox.receive()
            if messages:
                reply, before = messages[0], self._used
                self._used = reply["used"]
                if reply["status"] == "error":
                    self.end()
                return reply["status"], self._used - before
            if messages is None or time.monotonic() >= deadline:
                before = self._used
                self.end()
                ended = "timeout" if self._exit == -signal.SIGPROF else "lost"
                return ended if messages is None else "stalled", self._used - before

    def end(self) -> None:
        """Kills it, unless it ended by itself, and reaps it."""
        if self._exit is None:
            # One that is ending by a signal of its own keeps that one as its reason.
            os.kill(self._pid, signal.SIGKILL)
            self._reap(0)

    def _reap(self, options: int) -> bool:
        pid, status, usage = os.wait4(self._pid, options)
        if pid == 0:
            return False
        self._exit = os.waitstatus_to_exitcode(status)
        self._used = usage.ru_utime + usage.ru_stime
        os.close(self._requests)
        os.close(self._replies)
        return True


def _wait(reads: list[int], writes: list[int], caller: int, deadline: float = float("inf")) -> set[int]:
    """The descriptors that are ready, once one is or `deadline` is there.

    Raises:
        _CallerLostError: the caller is no longer our parent.
    """
    with selectors.DefaultSelector() as selector:
        for descriptor in reads:
            selector.register(descriptor, selectors.EVENT_READ)
        for descriptor in writes:
            selector.register(descriptor, selectors.EVENT_WRITE)
        while True:
            remaining = deadline - time.monotonic()
            ready = {key.fd for key, _ in selector.select(max(0.0, min(_LOOK_SECONDS, remaining)))}
            if ready or remaining <= 0:
                return ready
            if os.getppid() != caller:
                raise _CallerLostError


def _received(inbox: Inbox) -> list[dict[str, Any]]:
    messages = inbox.receive()
    if messages is None:
        raise _CallerLostError
    return messages


def _write(descriptor: int, message: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(message).encode() + b"\n")
