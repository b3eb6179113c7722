"""What a run leaves behind to read: `metrics.jsonl`, `completions.jsonl`, `config.yaml` and `run.json`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sfpo.grading import whole_text
from sfpo.records.provenance import PROVENANCE, entries_of, extended, provenance
from sfpo.records.run import COMPLETIONS, CONFIG, METRICS, RUN, read_rows
from sfpo.tasks.task import Reward
from sfpo.training.held_out import Evaluation


class RunRecords:
    """The files of one run. Every row of the JSON lines has the `step` it belongs to.

    Rows of `metrics.jsonl` are of four kinds: "train" (one a logged step), "evaluation", "benchmark" and "summary".
    """

    def __init__(self, folder: Path, is_writer: bool) -> None:
        self.folder = folder
        self._is_writer = is_writer

    def describe(self, configuration: dict[str, Any], **facts: Any) -> None:
        """Write the configuration, ready for `--config`, and what makes the run."""
        if not self._is_writer:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / CONFIG).write_text(yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True))
        self.update_run(started=time.time(), **facts, **{PROVENANCE: [provenance()]})

    def add_provenance(self) -> None:
        """Record the code, versions and machine that continue the run, where they differ from those before."""
        if self._is_writer:
            self.update_run(**{PROVENANCE: extended(entries_of(self._known()), provenance())})

    def update_run(self, **facts: Any) -> None:
        """Add facts to `run.json`."""
        if not self._is_writer:
            return
        (self.folder / RUN).write_text(json.dumps(self._known() | facts, indent=2) + "\n")

    def add_metrics(self, kind: str, step: int, values: dict[str, Any]) -> None:
        self._append(METRICS, [{"kind": kind, "step": step, **values}])

    def add_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.add_metrics("evaluation", step, asdict(evaluation))

    def add_completions(self, rows: list[dict[str, Any]]) -> None:
        self._append(COMPLETIONS, rows)

    def evaluation_at(self, step: int) -> Evaluation | None:
        """An evaluation made before, when a run is continued."""
        for row in read_rows(self.folder / METRICS):
            if row["kind"] == "evaluation" and row["step"] == step:
                return Evaluation(**{name: row[name] for name in Evaluation.__dataclass_fields__})
        return None

    def has_metrics(self, kind: str, step: int, **values: Any) -> bool:
        """Whether a row of this kind and step has these values."""
        wanted = {"kind": kind, "step": step, **values}.items()
        return any(wanted <= row.items() for row in read_rows(self.folder / METRICS))

    def rewind(self, step: int) -> None:
        """Drop what was recorded after the checkpoint that a run continues from: it will be made again."""
        if not self._is_writer:
            return
        for name in (METRICS, COMPLETIONS):
            kept = [
                row for row in read_rows(self.folder / name) if row["step"] <= step and row.get("kind") != "summary"
            ]
            # A row is complete before the file is replaced, so an interruption here loses nothing.
            replacement = self.folder / f"{name}.new"
            replacement.write_text("".join(_line(row) for row in kept))
            replacement.replace(self.folder / name)

    def _known(self) -> dict[str, Any]:
        path = self.folder / RUN
        known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return known

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        if self._is_writer:
            with (self.folder / name).open("a") as file:
                file.writelines(_line(row) for row in rows)


class MetricsCallback(TrainerCallback):
    """Writes what the trainer logs, whatever else it reports to."""

    def __init__(self, records: RunRecords) -> None:
        self._records = records

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        kind = "summary" if "train_runtime" in logs else "train"
        self._records.add_metrics(kind, state.global_step, logs)


class RecordedReward:
    """A task's reward that also keeps the first completions of every step, with what they earned."""

    __name__ = "task"  # TRL names the reward's metrics by it

    def __init__(self, reward: Reward, records: RunRecords, completions_per_step: int) -> None:
        self._reward = reward
        self._records = records
        self._count = completions_per_step
        self.ends: frozenset[int] = frozenset()
        """Tokens that end a completion, which only the trainer knows; a completion that ends in none of them was cut off."""
        self.latest: list[dict[str, Any]] = []
        """One completion of each prompt of the last batch."""

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        rewards = self._reward(prompts=prompts, completions=completions, **columns)
        state = columns["trainer_state"]
        answers = columns.get("answer", [None] * len(prompts))
        rows = [
            {
                "step": state.global_step + 1,
                "prompt": whole_text(prompt),
                "completion": whole_text(completion),
                "answer": answer,
                "reward": reward,
                "cut_off": not self.ends.intersection(ids[-1:]),
            }
            for prompt, completion, ids, answer, reward in zip(
                prompts, completions, columns["completion_ids"], answers, rewards, strict=True
            )
        ]
        self._records.add_completions(rows[: self._count])
        self.latest = list({row["prompt"]: row for row in rows}.values())
        return rewards


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
