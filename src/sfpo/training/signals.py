"""Warnings while training: signs that a run is not learning from what it samples."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

PATIENCE = 5
"""Steps in a row before a warning; each kind is given once."""


class SignalWarnings(TrainerCallback):
    """Says so when all rewards within every group are equal, or when most completions are cut off."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._streaks = {"signal": 0, "length": 0}

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        if "reward" not in logs:
            return
        # Groups without a spread still teach where the greedy completion earned something else.
        remax = "sfpo/greedy_reward" in logs
        silent = logs.get("grad_norm") == 0.0 if remax else logs.get("frac_reward_zero_std", 0.0) == 1.0
        if self._lasts("signal", silent):
            greedy = ", the greedy one included" if remax else ""
            self._warn(
                f"no learning signal for {PATIENCE} steps: every completion of a prompt{greedy} earned the same reward "
                f"(mean {logs['reward']:.2f}). Choose problems that are solved sometimes, or more --num_generations."
            )
        if self._lasts("length", logs.get("completions/clipped_ratio", 0.0) > 0.5):
            self._warn(
                f"most completions were cut off for {PATIENCE} steps ({logs['completions/clipped_ratio']:.0%} of the "
                f"last): raise --max_completion_length, now {args.max_completion_length}."
            )

    def _lasts(self, kind: str, present: bool) -> bool:
        self._streaks[kind] = self._streaks[kind] + 1 if present else 0
        return self._streaks[kind] == PATIENCE
