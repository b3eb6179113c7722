"""The checkpoints in an output folder: which of them is whole, and what another lacks. Read without torch."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from sfpo.errors import UsageError
from sfpo.json_object import Shape, flaw, read_object
from sfpo.whole import damage

STATE_FILE = "sfpo_state.json"
"""What SFPO adds to a checkpoint: its own state, and the parts with their sizes and checksums."""
_STATE: dict[str, Shape] = {
    "parts": dict,
    "rollouts": int,
    "gate": (NoneType, {"entropies": [int | float], "closed": bool}),
}
UNFINISHED = "_unfinished"
"""The folder in which checkpoints are written. What begins with "_" is not pushed to the hub."""
TRAINER_STATE = "trainer_state.json"
_TRAINER_STATE: dict[str, Shape] = {"global_step": int, "log_history": [{}]}
_PLACE = re.compile(r"checkpoint-\d+")

# What training continues from, each with the names it may have: alone, under FSDP and DeepSpeed, with adapters.
_PARTS = {
    "its weights": (
        "model*.safetensors", "pytorch_model*.bin", "adapter_model.*", "*/adapter_model.*", "pytorch_model_fsdp*", "global_step*",
    ),
    "optimizer.pt": ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*"),
    "scheduler.pt": ("scheduler.pt", "global_step*"),
    "rng_state.pth": ("rng_state.pth", "rng_state_*.pth"),
}  # fmt: skip


@dataclass(frozen=True)
class Newest:
    """The newest complete checkpoint of a folder, if it has one, and what each newer one lacks, in words."""

    checkpoint: Path | None
    skipped: list[str]


def newest_complete(folder: Path) -> Newest:
    """Look for the checkpoint to continue from."""
    skipped: list[str] = []
    for checkpoint in sorted(checkpoints_in(folder), key=step_of, reverse=True):
        missing = missing_part(checkpoint)
        if missing is None:
            return Newest(checkpoint, skipped)
        skipped.append(f"{checkpoint.name} lacks {missing}")
    return Newest(None, skipped)


def checkpoints_in(folder: Path) -> list[Path]:
    """The folders named like checkpoints, in no order."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _PLACE.fullmatch(path.name) and path.is_dir()]


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's name gives."""
    return int(checkpoint.name.rpartition("-")[2])


def missing_part(checkpoint: Path, *, by_size_alone: bool = False) -> str | None:
    """What a checkpoint lacks to continue from it as if training had not stopped; None if nothing.

    Args:
        by_size_alone: do not read the parts, which takes seconds for a checkpoint of gigabytes.
    """
    try:
        state = _trainer_state(checkpoint)
    except OSError:
        return TRAINER_STATE
    except UsageError:
        return f"a whole {TRAINER_STATE}"
    step = state["global_step"]
    if step < 1:
        return f"a whole {TRAINER_STATE}"
    if _PLACE.fullmatch(checkpoint.name) and step != step_of(checkpoint):
        return f"the state of step {step_of(checkpoint)}: it holds that of step {step}"
    try:
        listed = read_object(checkpoint / STATE_FILE, _STATE, "")["parts"]
        if not listed:  # it lists at least the trainer's state
            return f"a whole {STATE_FILE}"
    except FileNotFoundError:
        # A checkpoint of plain GRPO has none: SFPO starts from it with a fresh gate.
        if any(name.startswith("sfpo/") for row in state["log_history"] for name in row):
            return STATE_FILE
        listed = {}
    except (OSError, UsageError):
        return f"a whole {STATE_FILE}"
    if flaw(listed, {name: [int] for name in listed}) is not None or any(len(pair) != 2 for pair in listed.values()):
        return f"a whole {STATE_FILE}"
    if (lacking := damage(checkpoint, listed, by_size_alone=by_size_alone)) is not None:
        return lacking
    for part, names in _PARTS.items():
        if not any(True for name in names for _ in checkpoint.glob(name)):
            return part
    return None


def steps_made(checkpoint: Path) -> int:
    """After how many steps a checkpoint was written."""
    steps: int = _trainer_state(checkpoint)["global_step"]
    return steps


def logged_before(checkpoint: Path) -> list[dict[str, Any]]:
    """What was logged before a checkpoint was written, each row with its `step`."""
    rows: list[dict[str, Any]] = _trainer_state(checkpoint)["log_history"]
    return rows


def _trainer_state(checkpoint: Path) -> dict[str, Any]:
    return read_object(checkpoint / TRAINER_STATE, _TRAINER_STATE, "")
