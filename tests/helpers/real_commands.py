"""`sfpo` in processes of its own, to kill, to interrupt and to run two of at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIMIT = 240
"""Seconds after which a command is taken to hang."""


class Command:
    """A running `sfpo`, whose output goes to a file so that it never waits for a reader."""

    def __init__(self, tmp_path: Path, *arguments: object, name: str = "command", **options: object) -> None:
        self._log = tmp_path / f"{name}.log"
        command = [sys.executable, "-m", "sfpo.cli", *map(str, arguments)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **options)

    @property
    def said(self) -> str:
        return " ".join(self._log.read_text(errors="replace").split())

    def wait_for(self, what: str) -> None:
        """Wait until the command has said something."""
        deadline = time.monotonic() + LIMIT
        while what not in self.said:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"'{what}' was not said: {self.said}")
            time.sleep(0.05)

    def stop(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def ended(self) -> int:
        return self.process.wait(LIMIT)


def processes_with(text: str) -> list[int]:
    """The processes, but this one, whose command or surroundings name `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            known = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in known and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def wait_until_gone(text: str, seconds: float = 20) -> list[int]:
    """The processes with `text` that are left after a time in which workers notice that theirs is gone."""
    deadline = time.monotonic() + seconds
    while (left := processes_with(text)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
