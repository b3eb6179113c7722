"""Starts a supervisor (`supervisor.py`) without importing what the package imports.

Run as a script with the child's memory limit and the caller's process id. The package is entered through a stub so that
`sfpo/__init__.py`, and with it torch, is never imported here.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import types
from pathlib import Path


def main(memory_limit: int, caller: int) -> None:
    # The terminal's Ctrl-C is for the caller; its end closes our stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Only replies may reach the caller, whatever a parser prints.
    replies = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.disable(logging.CRITICAL)
    here = Path(__file__).resolve().parent
    # A script's own folder must not shadow other packages with the names of our files.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    package = types.ModuleType("sfpo")
    package.__path__ = [str(here.parent)]
    sys.modules["sfpo"] = package
    from sfpo.grading.supervisor import supervise
    from sfpo.grading.verify import judge_response

    # The parser builds its tables with its first formula: here once, instead of in every child.
    judge_response("x+1", r"\boxed{1+x}")
    # A child dirties far fewer shared pages when the collector leaves them alone.
    gc.freeze()
    supervise(judge_response, requests=0, replies=replies, memory_limit=memory_limit, caller=caller)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
