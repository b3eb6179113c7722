"""Calibration recovers what the seconds are made of, and predicts runs that this repository records."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from repository import ROOT

from sfpo.errors import UsageError
from sfpo.plan import architecture, calibration, seconds
from sfpo.plan.hardware import CPU, CPU_MEASURED, Efficiency
from sfpo.plan.workload import Workload

DEMO = ROOT / "results" / "demo"
PLAN = ROOT / "results" / "plan"
SMOLLM2 = architecture.Architecture(576, 1536, 30, 9, 3, 64, vocabulary=49152, tied=True)
EMBEDDED = architecture.load("embedded")
TRUE = Efficiency(rollout=0.3, seconds_per_token=0.004, update=0.25, seconds_per_micro_batch=0.02)


def run_of(passes, noise=lambda step: 1.0):
    """A run whose seconds follow `TRUE`, with lengths and active groups that change as it learns."""
    steps = []
    for step in range(30):
        work = Workload(
            micro_batch=64,
            accumulation=2,
            group_size=8,
            prompt_length=9,
            completion_length=5 + step / 3,
            longest_completion=25 + step % 7,
            bf16=False,
            active_share=1 - step / 40,
        )
        parts = seconds.estimate(EMBEDDED, work, CPU, TRUE)
        steps.append(
            calibration.MeasuredStep(work, passes, parts.rollouts * noise(step), passes * parts.a_pass * noise(step))
        )
    return calibration.Run(Path("run"), {}, steps)


def test_it_finds_the_efficiencies_that_made_the_seconds():
    assert asdict(calibration.calibrate(EMBEDDED, run_of(4), CPU)) == pytest.approx(asdict(TRUE), rel=1e-3)


def test_a_few_steps_on_a_busy_machine_do_not_move_it():
    busy = run_of(4, noise=lambda step: 8.0 if step % 6 == 2 else 1.0)
    assert asdict(calibration.calibrate(EMBEDDED, busy, CPU)) == pytest.approx(asdict(TRUE), rel=0.02)


def test_other_passes_follow_from_one_run():
    found = calibration.calibrate(EMBEDDED, run_of(2), CPU)
    assert calibration.check(EMBEDDED, run_of(8), CPU, found).error == pytest.approx(0, abs=0.01)


def test_one_step_is_enough_and_gives_no_fixed_part():
    single = replace(run_of(4), steps=run_of(4).steps[:1])
    found = calibration.calibrate(EMBEDDED, single, CPU)
    assert (found.seconds_per_token, found.seconds_per_micro_batch) == (0, 0)
    assert calibration.check(EMBEDDED, single, CPU, found).error == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("other", ["grpo", "multi_epoch"])
def test_the_demo_predicts_the_steps_of_other_methods_within_a_quarter(other):
    found = calibration.calibrate(EMBEDDED, calibration.read_run(DEMO / "sfpo"), CPU)
    assert asdict(found) == pytest.approx(asdict(CPU_MEASURED), rel=0.02)  # what the package ships
    check = calibration.check(EMBEDDED, calibration.read_run(DEMO / other), CPU, found)
    assert check.passes == (1 if other == "grpo" else 4)
    assert abs(check.error) < 0.25


def test_a_run_is_read_with_its_mini_batches_and_passes(tmp_path):
    settings = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "steps_per_generation": 4,
        "num_generations": 4,
        "inner_steps": 1,
        "bf16": True,
        "gradient_checkpointing": False,
    }
    common = {
        "kind": "train", "completions/mean_length": 10.0, "completions/max_length": 15.0, "frac_reward_zero_std": 0.25,
        "sfpo/distinct_share": 0.5, "sfpo/rollout_seconds": 1.0, "sfpo/update_seconds": 3.0,
        "sfpo/optimizer_steps_per_rollout_batch": 4.0,
    }  # fmt: skip
    # Two processes, two mini-batches: 32 rollouts a batch, and a log line for each of the two steps that share it.
    logged = [{"step": 2 * i, "num_tokens": 480.0 * i, "sfpo/rollouts": 32.0 * i, **common} for i in (1, 2)]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
    (step,) = calibration.read_run(tmp_path).steps
    assert (step.work.rollouts, step.work.devices, step.work.mini_batches) == (32, 2, 2)
    assert (step.work.prompt_length, step.work.active_share, step.work.distinct_share) == (5, 0.75, 0.5)
    assert (step.passes, step.rollout_seconds, step.update_seconds) == (2, 2, 6)


def test_every_mini_batch_of_a_log_counts_to_its_batch(tmp_path):
    settings = {
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "steps_per_generation": 2,
        "num_generations": 4, "inner_steps": 1, "bf16": True, "gradient_checkpointing": False,
    }  # fmt: skip
    common = {
        "kind": "train", "completions/mean_length": 10.0, "completions/max_length": 15.0, "frac_reward_zero_std": 0.0,
        "sfpo/optimizer_steps_per_rollout_batch": 4.0,
    }  # fmt: skip
    logged = [
        {"step": step, "num_tokens": 120.0 * batch, "sfpo/rollouts": 8.0 * batch, **common}
        | {"sfpo/rollout_seconds": rollout, "sfpo/update_seconds": update}
        for step, batch, rollout, update in ((1, 1, 9, 9), (2, 1, 0, 9), (3, 2, 3, 5), (4, 2, 0, 1))
    ]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
    (step,) = calibration.read_run(tmp_path).steps
    assert (step.work.rollouts, step.work.prompt_length, step.work.scores_first) == (8, 5, True)
    assert (step.passes, step.rollout_seconds, step.update_seconds) == (2, 3, 6)


@pytest.mark.parametrize(
    ("model", "folder", "others"),
    [
        (EMBEDDED, "embedded", ("grpo", "k1-256", "k7-64")),
        (SMOLLM2, "smollm2", ("grpo", "grpo-16-long", "k1-64")),
    ],
)
def test_a_recorded_run_predicts_other_k_batches_and_lengths_within_a_tenth(model, folder, others):
    assert json.loads((PLAN / folder / "k3" / "run.json").read_text())["weights"] == model.weights
    found = calibration.calibrate(model, calibration.read_run(PLAN / folder / "k3"), CPU)
    for other in others:
        assert abs(calibration.check(model, calibration.read_run(PLAN / folder / other), CPU, found).error) < 0.1


def test_steps_that_are_alike_give_no_fixed_part():
    first = run_of(4).steps[0]
    noisy = [replace(first, rollout_seconds=first.rollout_seconds * noise) for noise in (1.02, 1.0, 0.98)]
    alike = [
        replace(step, work=replace(step.work, completion_length=5 + length))
        for step, length in zip(noisy, (0, 0.1, 0.2), strict=True)
    ]
    assert calibration.calibrate(EMBEDDED, replace(run_of(4), steps=alike), CPU).seconds_per_token == 0


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a folder that sfpo train wrote"):
        calibration.read_run(tmp_path)
