"""The processes behind a grading pool, found through /proc, and whether they are gone."""

import time
from pathlib import Path

from sfpo.grading import Pool


def supervisors(pool: Pool) -> list[int]:
    return [worker._process.pid for worker in pool._workers]


def children(pid: int) -> list[int]:
    """The child processes of one process; none for one that ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def ends(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process is gone within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False
