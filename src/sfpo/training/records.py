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
from sfpo.records.rows import Row, append_rows, mend_rows, read_rows, replace_rows
from sfpo.records.run import (
    COMPLETIONS,
    CONFIG,
    METRICS,
    METRICS_ROW,
    RUN,
    model_files,
    read_facts,
    read_metrics,
)
from sfpo.tasks.task import Reward
from sfpo.training.held_out import Evaluation
from sfpo.trl.config import GREEDY
from sfpo.whole import write_whole


class RunRecords:
    """The files of one run. Every row of the JSON lines has the `step` it belongs to.

    Rows of `metrics.jsonl` are of four kinds: "train" (one a logged step), "evaluation", "benchmark" and "summary".
    """

    def __init__(self, folder: Path, is_writer: bool) -> None:
        self.folder = folder
        self._is_writer = is_writer

    def begin(self, configuration: dict[str, Any], **facts: Any) -> None:
        """Write the configuration, ready for `--config`, and what makes the run; drop rows of one that never got far."""
        if not self._is_writer:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, COMPLETIONS):
            (self.folder / name).unlink(missing_ok=True)
        write_whole(self.folder / CONFIG, yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True))
        self._write_run({"started": time.time(), **facts, PROVENANCE: [provenance()]})

    def continue_from(self, step: int, logged: list[Row], keep: bool, **facts: Any) -> list[str]:
        """Take the records back to a step; what came after it will be made again. Returns what was broken, in words.

        Rows of training that were lost are made from `logged`. The code, versions and machine that continue the run are
        recorded where they differ from those before.

        Args:
            logged: what the trainer had logged up to that step, each row with its `step`.
            keep: keep the rows after the step, too, and the summary: nothing is left to train.
            facts: what `run.json` must hold, should it be broken.
        """
        if not self._is_writer:
            return []
        said = []
        for name in (METRICS, COMPLETIONS):
            rows, torn = mend_rows(self.folder / name, METRICS_ROW if name == METRICS else {"step": int})
            if torn:
                said.append(f"{name} had {torn} torn row{'s' if torn > 1 else ''}, now dropped.")
            kept = rows
            if not keep:
                kept = [row for row in rows if row["step"] <= step and row.get("kind") != "summary"]
            if name == METRICS and (lost := _lost(kept, logged)):
                said.append(
                    f"{name} had lost {len(lost)} row{'s' if len(lost) > 1 else ''} of training, now made again."
                )
                # Before the summary, which comes last.
                kept = sorted(kept + lost, key=lambda row: (row.get("kind") == "summary", row["step"]))
            if kept != rows:
                replace_rows(self.folder / name, kept)
        known = read_facts(self.folder)
        if not known:
            said.append(f"{RUN} was missing or broken, and is begun anew.")
        for name in ("finished", "steps", "model"):
            known.pop(name, None)
        self._write_run(facts | known | {PROVENANCE: extended(entries_of(known), provenance())})
        return said

    def finish(self, steps: int) -> None:
        """Note that all is there."""
        if self._is_writer:
            noted = {"finished": time.time(), "steps": steps, "model": model_files(self.folder)}
            self._write_run(read_facts(self.folder) | noted)

    def add_metrics(self, kind: str, step: int, values: dict[str, Any]) -> None:
        self._append(METRICS, [{"kind": kind, "step": step, **values}])

    def add_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.add_metrics("evaluation", step, asdict(evaluation))

    def add_completions(self, rows: list[dict[str, Any]]) -> None:
        self._append(COMPLETIONS, rows)

    def evaluation_at(self, step: int) -> Evaluation | None:
        """An evaluation made before, when a run is continued."""
        for row in self.evaluations():
            if row["step"] == step:
                return Evaluation(**{name: row[name] for name in Evaluation.__dataclass_fields__})
        return None

    def evaluations(self) -> list[Row]:
        """The rows of all evaluations so far."""
        return read_metrics(self.folder, "evaluation")

    def has_metrics(self, kind: str, step: int, **values: Any) -> bool:
        """Whether a row of this kind and step has these values."""
        wanted = {"kind": kind, "step": step, **values}.items()
        return any(wanted <= row.items() for row in read_rows(self.folder / METRICS))

    def _write_run(self, facts: dict[str, Any]) -> None:
        write_whole(self.folder / RUN, json.dumps(facts, indent=2) + "\n")

    def _append(self, name: str, rows: list[Row]) -> None:
        if self._is_writer:
            append_rows(self.folder / name, rows)


def _lost(rows: list[Row], logged: list[Row]) -> list[Row]:
    """The rows of training that were logged and are not there."""
    there = {row.get("step") for row in rows if row.get("kind") == "train"}
    missing = [row for row in logged if "train_runtime" not in row and row["step"] not in there]
    return [{"kind": "train", "step": row["step"], **row} for row in missing]


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
        # A run that had finished keeps the summary of its training.
        if kind == "train" or not self._records.has_metrics(kind, state.global_step):
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
        is_greedy = columns.pop(GREEDY, None) is not None
        rewards = self._reward(prompts=prompts, completions=completions, **columns)
        if is_greedy:  # ReMax's baselines, which are no samples
            return rewards
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
