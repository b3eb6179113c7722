"""Worker processes that can be killed: a time limit and a memory limit for every comparison.

math-verify limits time with a signal, which raises in any thread but the main one and cannot interrupt a long
operation inside Python's big integers. Here every comparison runs in another process, which a supervisor of its own
(`supervisor.py`) watches and replaces. Supervisors are plain subprocesses, so they work from any thread and whatever
the start method of the caller's own processes. POSIX only.

A verdict never belongs to another answer: every request has an id that its reply repeats, a worker has one request at
a time, and a worker that says anything unexpected, or nothing in time, is replaced. An answer whose worker was lost is
judged once more, because somebody else may have killed it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple

from sfpo.extras import MissingExtraError

from .inbox import Inbox
from .verdict import Status, Verdict

MEMORY_LIMIT = 1 << 30
MATHS = ("sfpo.grading.verify",)
"""The judge of mathematical answers."""
_START_LIMIT = 120.0
# One that is killed while it starts is replaced; where its replacements do not start either, none will.
_START_ATTEMPTS = 8
# Processor time is what an answer is allowed. On a machine with this many busy processes for each core, a worker still
# gets all of it before the wall clock calls the worker stopped.
_WALL_SECONDS_PER_SECOND = 20.0
# The supervisor ends its child at the wall clock's limit; one that does not in this many times the limit is stopped itself.
_SUPERVISOR_ALLOWANCE = 1.5
_SUPERVISOR = Path(__file__).with_name("start_supervisor.py")
FINAL: dict[str, Status] = {
    "correct": "correct",
    "wrong": "wrong",
    "unparseable": "unparseable",
    "timeout": "timeout",
    "error": "error",
    # These two are tried again before they are final.
    "lost": "error",
    "stalled": "timeout",
}
"""The verdict of each word of the judge of mathematics, of the child and of the supervisor."""


class StartError(RuntimeError):
    """Workers do not start; the message says what is known of the reason."""


class Task(NamedTuple):
    """One comparison: a gold, and a response that commits to an answer or to none. What either is, the judge knows."""

    gold: str
    response: str


class Outcome(NamedTuple):
    """What became of task number `task` of a batch, in the judge's or the supervisor's words, and the processor time it
    took."""

    task: int
    status: str
    seconds: float


class Pool:
    """Worker processes shared by all threads of one process. They start with the first task.

    Args:
        workers: processes, at least 2 so that one serves while a killed one is replaced.
        memory_limit: address space of a worker in bytes.
        judge: the module whose `load_judge` makes the judge, in a supervisor, and the arguments of that.
    """

    def __init__(
        self, workers: int | None = None, memory_limit: int = MEMORY_LIMIT, judge: Sequence[str] = MATHS
    ) -> None:
        self._size = max(2, workers or min(8, _available_cpus() // 2))
        self._memory_limit = memory_limit
        self._judge = judge
        self._workers: list[_Worker] = []
        # A pool that nobody holds any more ends its workers; at exit the closed pipes do.
        weakref.finalize(self, _stop, self._workers).atexit = False
        self._lock = threading.Lock()
        self.stale_replies = 0
        """Replies to anything but the request in hand: dropped, and their worker replaced."""
        self.replaced_workers = 0
        """Workers that ended, stopped or said something unexpected."""
        _pools.add(self)

    def judge(self, tasks: Sequence[Task], time_limit: float) -> list[Verdict]:
        """Verdicts in the order of `tasks`, each after at most `time_limit` seconds of a worker's processor time.

        Raises:
            MissingExtraError: math-verify is not installed.
            StartError: the workers do not start.
        """
        if tasks and not self._workers and importlib.util.find_spec("math_verify") is None:
            raise MissingExtraError(
                "grading this answer needs math-verify: pip install 'sfpo[trl]', or math-verify alone",
                name="math_verify",
            )
        return [Verdict(FINAL[outcome.status], outcome.seconds) for outcome in self.ask(tasks, time_limit)]

    def ask(self, tasks: Sequence[Task], time_limit: float) -> list[Outcome]:
        """`judge` for any judge: what it says of each task, or a key of `FINAL` where it says nothing.

        Raises:
            StartError: the workers do not start.
        """
        if not tasks:
            return []
        with self._lock:
            try:
                return self._ask(tasks, time_limit)
            except BaseException:
                # An interrupted caller leaves workers busy with answers nobody waits for.
                _stop(self._workers)
                raise

    def close(self) -> None:
        """Ends the workers; a later task starts new ones."""
        with self._lock:
            _stop(self._workers)

    def _ask(self, tasks: Sequence[Task], time_limit: float) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(tasks)
        pending = deque(range(len(tasks)))
        tried: set[int] = set()
        while len(self._workers) < self._size:
            self._workers.append(_Worker(self._memory_limit, self._judge))
        while pending or any(worker.is_busy for worker in self._workers):
            for worker in self._workers:
                if worker.is_idle and pending:
                    index = pending.popleft()
                    worker.send(index, tasks[index], time_limit)
            _wait(self._workers)
            for place, worker in enumerate(self._workers):
                outcome = worker.progress()
                if outcome is not None and outcome.status in ("lost", "stalled") and outcome.task not in tried:
                    tried.add(outcome.task)
                    pending.appendleft(outcome.task)
                elif outcome is not None:
                    outcomes[outcome.task] = outcome
                if worker.in_doubt:
                    self.replaced_workers += 1
                    self.stale_replies += worker.stale_replies
                    worker.stop()
                    self._workers[place] = _Worker(self._memory_limit, self._judge, worker.failed_starts)
        assert None not in outcomes
        return [outcome for outcome in outcomes if outcome is not None]

    def _forget(self) -> None:
        """In a forked child: the workers are the parent's."""
        self._lock = threading.Lock()
        self._workers.clear()


class _Worker:
    """A supervisor with its child, seen from the caller, and the request they are busy with."""

    _ids = count()

    def __init__(self, memory_limit: int, judge: Sequence[str] = MATHS, failed_starts: int = 0) -> None:
        command = [sys.executable, str(_SUPERVISOR), str(memory_limit), str(os.getpid()), *judge]
        with _starting:
            # A session of its own: Ctrl-C is for the caller, and one signal ends the supervisor together with its child.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self.requests: IO[bytes] = self._process.stdin
            self.replies: IO[bytes] = self._process.stdout
            _running.add(self)
        os.set_blocking(self.requests.fileno(), False)
        self._inbox = Inbox(self.replies.fileno())
        self._ready = False
        self._id = -1
        self._index: int | None = None
        self.unsent = memoryview(b"")
        self.in_doubt = False
        self.failed_starts = failed_starts
        self.stale_replies = 0
        # While the supervisor starts this is the time to give up on it, then the end of the current request.
        self.deadline = time.monotonic() + _START_LIMIT

    @property
    def is_idle(self) -> bool:
        return self._ready and self._index is None

    @property
    def is_busy(self) -> bool:
        return self._index is not None

    def send(self, index: int, task: Task, time_limit: float) -> None:
        wall_limit = time_limit * _WALL_SECONDS_PER_SECOND
        self._id, self._index = next(self._ids), index
        request = {"id": self._id, **task._asdict(), "time_limit": time_limit, "wall_limit": wall_limit}
        self.unsent = memoryview(json.dumps(request).encode() + b"\n")
        self.deadline = time.monotonic() + wall_limit * _SUPERVISOR_ALLOWANCE
        self._write()

    def progress(self) -> Outcome | None:
        """Moves bytes where there are any, without waiting. What became of the request in hand, once that is known.

        Raises:
            StartError: this worker, like those before it, does not start.
        """
        self._write()
        messages = self._inbox.receive()
        outcome = None
        for message in messages or ():
            if not self._ready and message == {"ready": True}:
                self._ready, self.failed_starts, self.deadline = True, 0, float("inf")
            elif not self._ready and "failed" in message:
                raise StartError(message["failed"])
            elif self.is_busy and message.get("id") == self._id:
                outcome = self._finish(message["status"], message["seconds"])
            else:
                self.stale_replies += 1
                self.in_doubt = True
        if messages is None or time.monotonic() >= self.deadline:
            self.in_doubt = True
            if not self._ready:
                # Each slow one costs minutes, so a few of them are enough.
                self.failed_starts += 1 if messages is None else _START_ATTEMPTS // 2
                if self.failed_starts >= _START_ATTEMPTS:
                    how = (
                        "ended while it started"
                        if messages is None
                        else f"did not start within {_START_LIMIT:.0f} seconds"
                    )
                    raise StartError(f"a grading worker {how}")
        if self.in_doubt and self.is_busy:
            return self._finish("lost" if messages is None else "stalled", 0.0)
        return outcome

    def _write(self) -> None:
        # A process that ended shows when its replies are read, a full pipe empties later.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            while self.unsent:
                self.unsent = self.unsent[os.write(self.requests.fileno(), self.unsent) :]

    def _finish(self, status: str, seconds: float) -> Outcome:
        assert self._index is not None
        outcome = Outcome(self._index, status, seconds)
        self._index, self.deadline, self.unsent = None, float("inf"), memoryview(b"")
        return outcome

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.requests.close()
        self.replies.close()
        self._process.wait()
        _running.discard(self)

    def abandon(self) -> None:
        """In a forked child: closing our copies of the pipes lets the parent's workers end with it."""
        self.requests.close()
        self.replies.close()
        # Popen would warn about, and try to reap, a process that is not this process's child.
        self._process.returncode = 0


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()
    workers.clear()


def _wait(workers: Sequence[_Worker]) -> None:
    """Returns when a worker has something to say, takes more of its request, or is late."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.replies, selectors.EVENT_READ)
            if worker.unsent:
                selector.register(worker.requests, selectors.EVENT_WRITE)
        first = min(worker.deadline for worker in workers)
        selector.select(None if first == float("inf") else max(0.0, first - time.monotonic()))


def _available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# No fork happens between a worker's start and its entry here, so that a child closes its copies of every worker's pipes.
_starting = threading.RLock()
_running: weakref.WeakSet[_Worker] = weakref.WeakSet()
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
shared_pool = Pool()


def _after_fork() -> None:
    for worker in list(_running):
        worker.abandon()
    _running.clear()
    for pool in _pools:
        pool._forget()
    _starting.release()


os.register_at_fork(before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_after_fork)
