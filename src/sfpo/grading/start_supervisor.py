"""Starts a supervisor (`supervisor.py`) without importing what the package imports.

Run as a script with the child's memory limit, the caller's process id, the module that has the judge, and what its
`load_judge` takes. The package is entered through a stub so that `sfpo/__init__.py`, and with it torch, is never imported
here.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import sys
import types
from pathlib import Path


def main(memory_limit: int, caller: int, module: str, *arguments: str) -> None:
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

    try:
        judge = importlib.import_module(module).load_judge(*arguments)
    except Exception as error:
        # Whatever it is, the caller is the one who can tell the user.
        os.write(replies, json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        return
    # A child dirties far fewer shared pages when the collector leaves them alone.
    gc.freeze()
    supervise(judge, requests=0, replies=replies, memory_limit=memory_limit, caller=caller)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
