"""What a run shows in the terminal: a live panel, or a line a step where there is no terminal."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sfpo.training.records import RecordedReward

_BARS = "▁▂▃▄▅▆▇█"

# What is worth watching: label, key in the logs, format.
_CURVES = (
    ("reward", "reward", ".3f"),
    ("response length", "completions/mean_length", ".1f"),
    ("entropy", "sfpo/entropy", ".3f"),
    ("α", "sfpo/alpha", ".2f"),
)


class ProgressCallback(TrainerCallback):
    """Follows the training. `reward` gives the latest completions to show."""

    def __init__(self, console: Console, title: str, reward: RecordedReward) -> None:
        self._console = console
        self._title = title
        self._reward = reward
        self._history: dict[str, list[float]] = {}
        self._logs: dict[str, Any] = {}
        self._live: Live | None = None
        self._started = self._first_step = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started, self._first_step = time.monotonic(), state.global_step
        if self._console.is_terminal and state.is_world_process_zero:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "reward" not in logs or not state.is_world_process_zero:
            return
        self._logs = logs
        for _, key, _ in _CURVES:
            if logs.get(key) is not None:
                self._history.setdefault(key, []).append(float(logs[key]))
        if self._live is not None:
            self._live.update(self._panel(state), refresh=True)
        else:
            self._console.print(self._plain_line(state), highlight=False, soft_wrap=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Give the terminal back, also when training ends in an error."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _panel(self, state: TrainerState) -> Panel:
        done, total = state.global_step, state.max_steps
        elapsed = time.monotonic() - self._started
        left = elapsed / max(1, done - self._first_step) * (total - done)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=total, completed=done, width=36),
            f"step {done}/{total}",
            f"{_clock(elapsed)} so far, {_clock(left)} left",
        )
        curves = Table.grid(padding=(0, 2))
        for label, key, form in _CURVES:
            if values := self._history.get(key):
                curves.add_row(label, Text(_sparkline(values), style="cyan"), f"{values[-1]:{form}}")
        parts: list[Any] = [head, Text(), curves, Text(self._counts(), style="dim")]
        if shown := self._reward.latest[:3]:
            parts.append(Text())
            parts += [_sample(row) for row in shown]
        return Panel(Group(*parts), title=self._title, title_align="left", padding=(1, 2))

    def _plain_line(self, state: TrainerState) -> str:
        values = [f"{label} {h[-1]:{form}}" for label, key, form in _CURVES if (h := self._history.get(key))]
        return "  ".join(
            [f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}", *values, self._counts()]
        )

    def _counts(self) -> str:
        logs = self._logs
        counts = f"{int(logs.get('sfpo/rollouts', 0)):,} rollouts"
        if "sfpo/rollout_seconds" in logs:
            counts += f", {logs['sfpo/rollout_seconds']:.1f} s rollouts + {logs['sfpo/update_seconds']:.1f} s update"
        return counts


def _sample(row: dict[str, Any]) -> Text:
    right = (row["reward"] or 0.0) >= 1.0
    text = Text.assemble(
        ("✓ " if right else "✗ ", "green" if right else "red"),
        (_one_line(row["prompt"]), "bold"),
        "  ",
        _one_line(row["completion"]),
    )
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sparkline(values: list[float], width: int = 36) -> str:
    if len(values) > width:
        size = len(values) / width
        values = [_mean(values[int(i * size) : int((i + 1) * size)]) for i in range(width)]
    low, high = min(values), max(values)
    if high == low:  # neither high nor low
        return _BARS[len(_BARS) // 2 - 1] * len(values)
    scale = (len(_BARS) - 1) / (high - low)
    return "".join(_BARS[round((value - low) * scale)] for value in values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
