"""Worker processes that can be killed: a time limit and a memory limit for every comparison.

math-verify limits time with a signal, which raises in any thread but the main one and cannot interrupt a long
operation inside Python's big integers. Here the clock runs in the caller and the comparison in another process
(`worker.py`), started as a plain subprocess: it works from any thread and whatever the start method of the caller's
own processes. POSIX only.
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
from pathlib import Path
from typing import IO, NamedTuple

from .verdict import Status, Verdict

MEMORY_LIMIT = 1 << 30
_START_LIMIT = 120.0


class Task(NamedTuple):
    """One comparison: the gold, the answer, and the statement that the answer was read from."""

    gold: str
    answer: str
    whole: str


class Pool:
    """Worker processes shared by all threads of one process. They start with the first task.

    Args:
        workers: processes, at least 2 so that one serves while a killed one is replaced.
        memory_limit: address space of a worker in bytes.
    """

    def __init__(self, workers: int | None = None, memory_limit: int = MEMORY_LIMIT) -> None:
        self._size = max(2, workers or min(8, _available_cpus() // 2))
        self._memory_limit = memory_limit
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        _pools.add(self)

    def judge(self, tasks: Sequence[Task], time_limit: float) -> list[Verdict]:
        """Verdicts in the order of `tasks`, each after at most `time_limit` seconds of its own.

        Raises:
            ModuleNotFoundError: math-verify is not installed.
            RuntimeError: the workers do not start.
        """
        if not tasks:
            return []
        with self._lock:
            try:
                return self._judge(tasks, time_limit)
            except BaseException:
                # An interrupted caller leaves workers busy with answers nobody waits for.
                self._stop()
                raise

    def close(self) -> None:
        """Ends the workers; a later task starts new ones."""
        with self._lock:
            self._stop()

    def _judge(self, tasks: Sequence[Task], time_limit: float) -> list[Verdict]:
        verdicts: list[Verdict | None] = [None] * len(tasks)
        pending = deque(enumerate(tasks))
        while len(self._workers) < self._size:
            self._workers.append(_Worker(self._memory_limit))
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.replies, selectors.EVENT_READ, worker)
            while pending or any(worker.task is not None for worker in self._workers):
                for worker in self._workers:
                    if worker.idle and pending:
                        worker.send(*pending.popleft(), time_limit)
                wait = max(0.0, min(worker.deadline for worker in self._workers) - time.monotonic())
                for key, _ in selector.select(wait):
                    worker = key.data
                    for index, verdict in worker.receive():
                        verdicts[index] = verdict
                    if worker.ended:
                        selector.unregister(worker.replies)
                        worker.stop()
                        self._workers.remove(worker)
                        replacement = _Worker(self._memory_limit, second_try=worker.failed_to_start)
                        self._workers.append(replacement)
                        selector.register(replacement.replies, selectors.EVENT_READ, replacement)
                for worker in self._workers:
                    if time.monotonic() >= worker.deadline:
                        index, verdict = worker.interrupt()
                        verdicts[index] = verdict
        return [verdict for verdict in verdicts if verdict is not None]

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def _forget(self) -> None:
        """In a forked child: the workers are the parent's. Closing our copies of the pipes lets them end with it."""
        self._lock = threading.Lock()
        for worker in self._workers:
            worker.abandon()
        self._workers = []


class _Worker:
    """One supervisor process, the pid of its current child, and the task the child is busy with."""

    def __init__(self, memory_limit: int, second_try: bool = False) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise ModuleNotFoundError("grading needs math-verify: pip install math-verify")
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(memory_limit)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self.replies: IO[bytes] = self._process.stdout
        self._received = b""
        self._child: int | None = None
        self._started = 0.0
        self._second_try = second_try
        self.task: int | None = None
        self.ended = False
        self.failed_to_start = False
        # While a child starts this is the time to give up on it, then the end of the current task.
        self.deadline = time.monotonic() + _START_LIMIT

    @property
    def idle(self) -> bool:
        return self._child is not None and self.task is None

    def send(self, index: int, task: Task, time_limit: float) -> None:
        self.task = index
        self._started = time.monotonic()
        self.deadline = self._started + time_limit
        request = json.dumps({**task._asdict(), "time_limit": time_limit}).encode() + b"\n"
        view = memoryview(request)
        # A process that ended shows when its replies are read.
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[self._requests.write(view) :]

    def receive(self) -> list[tuple[int, Verdict]]:
        """The verdicts that arrived. A new child while a task was running means that the old one died of it."""
        data = os.read(self.replies.fileno(), 1 << 16)
        if not data:
            # One that was killed is replaced; where its replacement does not start either, none will.
            self.failed_to_start = self._child is None and self.task is None
            if self.failed_to_start and self._second_try:
                raise RuntimeError("a grading worker ended while it started")
            self.ended = True
            return [self._finish("error")] if self.task is not None else []
        *lines, self._received = (self._received + data).split(b"\n")
        verdicts = []
        for line in lines:
            message = json.loads(line)
            if "ready" in message:
                self._child = message["ready"]
                if self.task is not None:
                    verdicts.append(self._finish("error"))
                self.deadline = float("inf")
            elif self.task is not None:
                verdicts.append(self._finish(message["status"]))
                if message["status"] == "error":
                    # This child is about to be replaced.
                    self._child, self.deadline = None, time.monotonic() + _START_LIMIT
        return verdicts

    def interrupt(self) -> tuple[int, Verdict]:
        """Kills the child at the end of its time."""
        if self._child is None or self.task is None:
            raise RuntimeError(f"a grading worker did not start within {_START_LIMIT:.0f} seconds")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        result = self._finish("timeout")
        self._child, self.deadline = None, time.monotonic() + _START_LIMIT
        return result

    def _finish(self, status: Status) -> tuple[int, Verdict]:
        assert self.task is not None
        result = self.task, Verdict(status, time.monotonic() - self._started)
        self.task, self.deadline = None, float("inf")
        return result

    def stop(self) -> None:
        self._process.kill()
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
        self._requests.close()
        self.replies.close()
        self._process.wait()

    def abandon(self) -> None:
        self._requests.close()
        self.replies.close()
        # Popen would warn about, and try to reap, a process that is not this process's child.
        self._process.returncode = 0


def _available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
shared_pool = Pool()


def _after_fork() -> None:
    for pool in _pools:
        pool._forget()


os.register_at_fork(after_in_child=_after_fork)
