"""Ctrl-C and SIGTERM while `sfpo train` runs: real signals, sent to this process or to one of its own."""

import json
import os
import shlex
import signal
import time

import pytest
from real_commands import Command, processes_with, wait_until_gone

from sfpo.cli import main
from sfpo.training.records import RecordedReward

SMALL = [
    "--per_device_train_batch_size", "16", "--eval_problems", "8", "--train_problems", "64",
    "--max_completion_length", "12", "--learning_rate", "1e-3", "--inner_steps", "1", "--save_steps", "100",
]  # fmt: skip


def train(capsys, *arguments):
    """Exit code and what was printed, screen then errors."""
    code = main(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def signal_at(monkeypatch, target, name, number, call=1):
    """Send this process a signal in a call of a function, in the middle of what it does for the command."""
    original = getattr(target, name)
    calls = []

    def signalled(*arguments, **keywords):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return original(*arguments, **keywords)

    monkeypatch.setattr(target, name, signalled)


def rows(folder, name):
    """The rows of a run without its times, in order of steps: an evaluation may come before or after its step's row."""
    found = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    kept = [row for row in found if row.get("kind") != "summary"]
    timeless = [{k: v for k, v in row.items() if "second" not in k and "time" not in k} for row in kept]
    return sorted(timeless, key=lambda row: (row["step"], row.get("kind", "")))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, capsys, monkeypatch):
    whole, stopped, handler = tmp_path / "whole", tmp_path / "stopped", signal.getsignal(signal.SIGINT)
    options = [*SMALL, "--max_steps", "4", "--eval_every", "2"]
    assert train(capsys, *options, "--output_dir", whole)[0] == 0
    with monkeypatch.context() as patch:
        signal_at(patch, RecordedReward, "__call__", signal.SIGINT, call=2)
        code, out, err = train(capsys, *options, "--output_dir", stopped)
    assert code == 130, err
    said = " ".join(out.split())
    assert f"Stopped. Step 2 and all before it are saved in {stopped / 'checkpoint-2'}. Continue with:" in said
    assert (stopped / "checkpoint-2" / "trainer_state.json").is_file()
    assert signal.getsignal(signal.SIGINT) is handler
    command = shlex.split(out.strip().splitlines()[-1])
    assert command[1:] == ["train", *options, "--output_dir", str(stopped), "--resume_from_checkpoint", "last"]
    code, _, err = train(capsys, *command[2:])
    assert code == 0, err
    assert (stopped / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    for name in ("metrics.jsonl", "completions.jsonl"):
        assert rows(stopped, name) == rows(whole, name)


def test_sigterm_waits_for_the_last_step_of_a_batch_of_rollouts(tmp_path, capsys, monkeypatch):
    batch = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1", "--steps_per_generation", "2"]
    signal_at(monkeypatch, RecordedReward, "__call__", signal.SIGTERM, call=2)
    options = [*SMALL, *batch, "--max_steps", "8", "--save_strategy", "no"]
    code, out, err = train(capsys, *options, "--output_dir", tmp_path / "run")
    assert code == 143, err
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-4"]
    assert "Step 4 and all before it are saved" in " ".join(out.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["build.load_model", "command.evaluate", "command.load_task"])
def test_before_the_first_step_it_stops_at_once(tmp_path, capsys, monkeypatch, place, number):
    from sfpo.training import build, command

    module, name = place.split(".")
    signal_at(monkeypatch, {"build": build, "command": command}[module], name, number)
    options = [*SMALL, "--max_steps", "4", "--output_dir", str(tmp_path / "run")]
    code, out, err = train(capsys, *options)
    assert code == 128 + number
    assert err == ""
    assert "Stopped before there was a checkpoint" in out
    assert shlex.split(out.strip().splitlines()[-1])[1:] == ["train", *options]
    if name != "evaluate":
        assert not (tmp_path / "run").exists()


def test_after_the_last_step_the_model_is_saved(tmp_path, capsys, monkeypatch):
    from sfpo.training import command

    signal_at(monkeypatch, command, "evaluate", signal.SIGINT, call=2)
    code, out, err = train(capsys, *SMALL, "--max_steps", "1", "--output_dir", tmp_path / "run")
    assert code == 130, err
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert "The trained model is saved" in out
    assert "--resume_from_checkpoint last" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once_and_no_worker_stays(tmp_path, number):
    # Golds that only a grading worker can compare, and a step that takes minutes.
    problems = [{"prompt": f"{n}+1=", "answer": f"x^2+{n}x+1"} for n in range(80)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, problems)))
    mark = f"stopped-{os.getpid()}-{number}"
    run = Command(
        tmp_path, "train", *SMALL, "--max_steps", "2", "--inner_steps", "5000", "--task", "file", "--data_path",
        tmp_path / "problems.jsonl", "--output_dir", tmp_path / "run", env={**os.environ, "SFPO_TEST": mark},
    )  # fmt: skip
    run.wait_for("before training")
    while not (tmp_path / "run" / "completions.jsonl").exists():
        assert run.process.poll() is None, run.said
        time.sleep(0.05)
    assert len(processes_with(mark)) > 2  # it has workers
    run.stop(number)
    run.wait_for("Stopping after this step; once more ends it at once.")
    time.sleep(0.5)
    assert run.process.poll() is None
    run.stop(number)
    second = time.monotonic()
    assert run.ended() == 128 + number
    assert time.monotonic() - second < 10
    assert wait_until_gone(mark) == []
    assert "Traceback" not in run.said
