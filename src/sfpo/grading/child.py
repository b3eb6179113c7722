"""The process that judges answers, where nothing SymPy does can hurt the trainer: it may use so much time and memory."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import NoReturn


def serve(judge: Callable[[str, str], str], requests: int, replies: int, memory_limit: int) -> NoReturn:
    """Answers requests until their pipe closes.

    The kernel ends this process by SIGPROF when an answer has used its processor time, whatever SymPy is in. An answer
    that reached the memory limit has the status "error"; the process may be unfit for another one then.
    """
    code = 1
    try:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
        with open(requests, "rb") as lines:
            for line in lines:
                request = json.loads(line)
                signal.setitimer(signal.ITIMER_PROF, request["time_limit"])
                try:
                    status = judge(request["gold"], request["response"])
                except MemoryError:
                    status = "error"
                except Exception:
                    # SymPy raises anything on malformed input, RecursionError included: the answer cannot be read.
                    status = "unparseable"
                signal.setitimer(signal.ITIMER_PROF, 0)
                os.write(replies, json.dumps({"status": status, "used": time.process_time()}).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)
