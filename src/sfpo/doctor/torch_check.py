"""Whether torch works, and on which device training would run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfpo.doctor.finding import Finding

_PATIENCE = 180.0
"""Seconds for torch to start; on a cold network disk it takes a minute."""
_PROBE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from sfpo.doctor.probe import main; main()"
_REINSTALL = "pip install --force-reinstall torch"
_GIB = 2**30


def probe() -> dict[str, Any] | Finding:
    """What `probe.py` found; a finding in its place where it did not get that far."""
    command = [sys.executable, "-c", _PROBE, json.dumps(sys.path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return Finding("broken", f"torch did not start within {_PATIENCE:.0f} seconds", "sfpo doctor, once more")
    except OSError as error:
        return Finding(
            "broken", f"no process can be started ({error.strerror})", "raise the limits of ulimit -u and -v"
        )
    if done.returncode < 0:
        return Finding("broken", f"torch crashed ({signal.Signals(-done.returncode).name})", _REINSTALL)
    if done.returncode:
        return Finding("broken", f"torch fails: {_last_line(done.stderr)}", _REINSTALL)
    found: dict[str, Any] = json.loads(_last_line(done.stdout))
    return found


def check_torch(found: dict[str, Any]) -> Iterator[Finding]:
    """Findings about what `probe` found."""
    where = "the CPU" if found["device"] == "cpu" else _described(found)
    if found["wrong_products"]:
        formats = " and ".join(found["wrong_products"])
        yield Finding("broken", f"torch {found['torch']} multiplies wrongly in {formats} on {where}", _REINSTALL)
    elif not found["steps"]:
        yield Finding(
            "broken",
            f"a slow-fast step on {where} ends elsewhere than it should",
            "pip install --force-reinstall sfpo",
        )
    else:
        yield Finding("works", f"torch {found['torch']} on {where}: products in fp32 and bf16, a slow-fast step")
    if found["devices"] > 1:
        yield Finding(
            "works",
            f"{found['devices']} devices; sfpo train uses one unless it is launched on all",
            f"accelerate launch --num_processes {found['devices']} -m sfpo train ...",
        )
    if found["device"] == "cpu" and _has_nvidia_gpu():
        yield _unused_gpu(found)


def _described(found: dict[str, Any]) -> str:
    name = found["provenance"]["machine"]["accelerator"] or found["device"]
    if found["free_memory"] is None:
        return str(name)
    free, total = (size / _GIB for size in found["free_memory"])
    return f"{name} ({free:.1f} of {total:.1f} GiB free)"


def _has_nvidia_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _unused_gpu(found: dict[str, Any]) -> Finding:
    variable = "CUDA_VISIBLE_DEVICES"
    if variable in os.environ:
        return Finding("doubtful", f"the GPU is hidden: {variable} is '{os.environ[variable]}'", f"unset {variable}")
    if found["built_for"] is None:
        return Finding("doubtful", f"the GPU is not used: torch {found['torch']} is for CPUs alone", _REINSTALL)
    return Finding(
        "doubtful",
        f"the GPU is not used: torch {found['torch']}, built for CUDA {found['built_for']}, does not reach it",
        "nvidia-smi says which CUDA the driver is for: update it, or install a torch built for that one",
    )


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it says nothing")
