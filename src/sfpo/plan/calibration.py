"""Efficiencies from a measured run of `sfpo train`, and how well they predict another run."""

from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any

import yaml

from sfpo.errors import UsageError
from sfpo.plan import seconds
from sfpo.plan.architecture import Architecture
from sfpo.plan.hardware import Efficiency, Hardware
from sfpo.plan.workload import Workload, passes_and_copies
from sfpo.records.run import CONFIG, METRICS, read_metrics

Settings = dict[str, Any]


@dataclass(frozen=True)
class MeasuredStep:
    """One step of a run: its work and the seconds it took. `rollout_seconds` include the scoring of π_old."""

    work: Workload
    passes: float
    rollout_seconds: float
    update_seconds: float


@dataclass(frozen=True)
class Run:
    """A run folder: its settings and its steps."""

    folder: Path
    settings: Settings
    steps: list[MeasuredStep]

    @property
    def mean_passes(self) -> float:
        """Passes per step; not a whole number where a KL budget ends trajectories early or a line search moves back."""
        return fmean(step.passes for step in self.steps)

    def typical(self) -> Workload:
        """The median workload of its steps."""
        work = [step.work for step in self.steps]
        return replace(
            work[0],
            prompt_length=median(w.prompt_length for w in work),
            completion_length=median(w.completion_length for w in work),
            longest_completion=median(w.longest_completion for w in work),
            active_share=median(w.active_share for w in work),
            distinct_share=median(w.distinct_share for w in work),
        )


@dataclass(frozen=True)
class Check:
    """Measured seconds of a run compared with the prediction for the lengths and passes of its steps; medians over steps.

    A moment in which the machine was busy shifts a mean, but not a median.
    """

    run: str
    passes: float
    predicted_rollouts: float
    measured_rollouts: float
    predicted_update: float
    measured_update: float

    @property
    def predicted(self) -> float:
        return self.predicted_rollouts + self.predicted_update

    @property
    def measured(self) -> float:
        return self.measured_rollouts + self.measured_update

    @property
    def error(self) -> float:
        """Error of the prediction for the whole step, as a share of the measured seconds."""
        return self.predicted / self.measured - 1


def read_run(folder: Path) -> Run:
    """The settings and steps that a run of `sfpo train` left in its folder.

    Raises:
        UsageError: the folder holds no such run, or the run has logged no step.
    """
    if not (folder / CONFIG).is_file() or not (folder / METRICS).is_file():
        raise UsageError(f"{folder} is not a folder that sfpo train wrote: it should hold {CONFIG} and {METRICS}")
    settings = yaml.safe_load((folder / CONFIG).read_text())
    rows = [row for row in read_metrics(folder, "train") if "sfpo/update_seconds" in row]
    if not rows:
        raise UsageError(f"{folder} holds no training step yet: let it run for two steps")
    previous = {"step": 0, "num_tokens": 0.0, "sfpo/rollouts": 0.0}
    steps = []
    # With several mini-batches, several lines of the log belong to one batch of rollouts.
    for _, group in groupby(rows, key=lambda row: row["sfpo/rollouts"]):
        lines = list(group)
        steps.append(_measured(settings, lines, previous))
        previous = lines[-1]
    # The first step warms the machine up, so its seconds are not typical.
    return Run(folder, settings, steps[1:] or steps)


def _measured(settings: Settings, lines: list[Settings], previous: Settings) -> MeasuredStep:
    row, optimizer_steps = lines[0], lines[-1]["step"] - previous["step"]
    micro_batch, accumulation = settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]
    mini_batches = max(1, settings.get("steps_per_generation", accumulation) // accumulation)
    sampled = row["sfpo/rollouts"] - previous["sfpo/rollouts"]
    rollouts = sampled * mini_batches / optimizer_steps
    tokens = (row["num_tokens"] - previous["num_tokens"]) / sampled
    length = row["completions/mean_length"]
    devices = max(1, round(rollouts / (micro_batch * accumulation * mini_batches)))
    work = Workload(
        micro_batch=micro_batch,
        accumulation=accumulation,
        mini_batches=mini_batches,
        group_size=settings["num_generations"],
        devices=devices,
        prompt_length=tokens - length,
        completion_length=length,
        longest_completion=row["completions/max_length"],
        **passes_and_copies(settings),
        engine="lora" if settings.get("use_peft") else "ddp",
        lora_rank=settings.get("lora_r", Workload.lora_rank),
        gradient_checkpointing=settings.get("gradient_checkpointing", True),
        bf16=settings["bf16"],
        active_share=1 - row["frac_reward_zero_std"],
        distinct_share=row.get("sfpo/distinct_share", 1.0),  # runs recorded before this metric scored every token
        compact=settings.get("compact_passes", True) and devices == 1,
        scores_first=mini_batches > 1,
    )
    # With a trust region, some passes make no optimizer step. Older runs had no trust region.
    passes = row.get("sfpo/passes", row["sfpo/optimizer_steps_per_rollout_batch"] / mini_batches)
    # A log line holds the mean over the optimizer steps since the line before it; a step here is one batch of rollouts.
    starts = [previous["step"], *(line["step"] for line in lines)]
    rollout_seconds, update_seconds = (
        sum(line[name] * (line["step"] - start) for line, start in zip(lines, starts[:-1], strict=True))
        * mini_batches
        / optimizer_steps
        for name in ("sfpo/rollout_seconds", "sfpo/update_seconds")
    )
    return MeasuredStep(work, passes, rollout_seconds, update_seconds)


def calibrate(model: Architecture, run: Run, hardware: Hardware) -> Efficiency:
    """The efficiencies that give the least absolute error over the run's steps."""
    fixed_batch, update = _two_terms(
        [
            (
                s.passes * s.work.micro_batches,
                s.passes * seconds.nominal_pass(model, s.work, hardware),
                s.update_seconds,
            )
            for s in run.steps
        ]
    )
    passes = Efficiency(
        rollout=1.0, seconds_per_token=0.0, update=1 / max(update, 1e-9), seconds_per_micro_batch=fixed_batch
    )
    fixed_token, rollout = _two_terms(
        [
            (
                s.work.longest_completion,
                seconds.nominal_rollout(model, s.work, hardware),
                s.rollout_seconds - seconds.estimate(model, s.work, hardware, passes).scoring,
            )
            for s in run.steps
        ]
    )
    return replace(passes, rollout=1 / max(rollout, 1e-9), seconds_per_token=fixed_token)


def check(model: Architecture, run: Run, hardware: Hardware, efficiency: Efficiency) -> Check:
    """Compare the seconds that the efficiencies predict for a run with the seconds it took."""
    predicted = [seconds.estimate(model, step.work, hardware, efficiency) for step in run.steps]
    updates = [
        step.passes * f.a_pass + (f.reposition if step.passes > 1 else 0)
        for step, f in zip(run.steps, predicted, strict=True)
    ]
    return Check(
        run=str(run.folder),
        passes=median(step.passes for step in run.steps),
        predicted_rollouts=median(f.rollouts + f.scoring for f in predicted),
        measured_rollouts=median(step.rollout_seconds for step in run.steps),
        predicted_update=median(updates),
        measured_update=median(step.update_seconds for step in run.steps),
    )


def _two_terms(rows: list[tuple[float, float, float]]) -> tuple[float, float]:
    """a, b ≥ 0 that minimise Σ |y − a·u − b·v| over rows (u, v, y), found by iteratively reweighted least squares."""
    weights = [1.0] * len(rows)
    a = b = 0.0
    for _ in range(50):
        weighted = list(zip(weights, rows, strict=True))
        uu, uv, vv = (sum(w * r[i] * r[j] for w, r in weighted) for i, j in ((0, 0), (0, 1), (1, 1)))
        uy, vy = (sum(w * r[i] * r[2] for w, r in weighted) for i in (0, 1))
        determinant = uu * vv - uv**2
        # Steps whose v/u differs by less than a tenth are too similar to separate a fixed part from a proportional one.
        if determinant > 0.1**2 * uu * vv:
            a, b = (vv * uy - uv * vy) / determinant, (uu * vy - uv * uy) / determinant
        else:
            a, b = 0.0, vy / vv
        if b < 0:
            a, b = uy / uu, 0.0
        elif a < 0:
            a, b = 0.0, vy / vv
        typical = median(y for _, _, y in rows)
        weights = [1 / max(abs(y - a * u - b * v), 1e-3 * typical) for u, v, y in rows]
    return a, b
