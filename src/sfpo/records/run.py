"""The files that a run writes, and how to read their rows; needs neither torch nor transformers."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

METRICS, COMPLETIONS, CONFIG, RUN = "metrics.jsonl", "completions.jsonl", "config.yaml", "run.json"

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a run's JSON lines file, without one that a killed run left unfinished; none if there is no file."""
    if not path.exists():
        return []
    rows = []
    # Only "\n" ends a row: a completion may hold the other characters at which splitlines() splits. The last row may end in
    # the middle of a character.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def spent(steps: Iterable[Row]) -> dict[int, tuple[float, float]]:
    """Rollouts sampled, and seconds spent on rollouts and updates, up to each logged step; both are 0 at step 0.

    Args:
        steps: the rows of kind "train", in order.
    """
    so_far = {0: (0.0, 0.0)}
    previous = 0
    for row in steps:
        step = row["step"]
        # A logged value is the mean since the previous log.
        seconds = (row.get("sfpo/rollout_seconds", 0.0) + row.get("sfpo/update_seconds", 0.0)) * (step - previous)
        rollouts, elapsed = so_far[previous]
        so_far[step] = (row.get("sfpo/rollouts", rollouts), elapsed + seconds)
        previous = step
    return so_far
