"""`sfpo compare` as a user types it, on the embedded model."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from real_commands import LIMIT, Command, wait_until_gone

from sfpo.cli import main

SMALL = [
    "--max_steps", "4", "--per_device_train_batch_size", "16", "--eval_problems", "16", "--train_problems", "64",
    "--max_completion_length", "12", "--learning_rate", "1e-3", "--eval_every", "2",
]  # fmt: skip


def compare(capsys, *arguments):
    code = main(["compare", *[str(argument) for argument in arguments]])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "c"
    arguments = [
        *SMALL,
        "--methods",
        "grpo,sfpo",
        "--seeds",
        "2",
        "--sweep",
        "inner_steps=1,3",
        "--output_dir",
        folder,
    ]
    assert main(["compare", *map(str, arguments)]) == 0
    return folder, arguments


def test_every_run_is_recorded_and_summarised(compared):
    folder, _ = compared
    names = {"grpo", "sfpo,inner_steps=1", "sfpo,inner_steps=3"}
    evaluations = rows(folder / "evaluations.csv")
    assert {(row["variant"], row["seed"], row["step"]) for row in evaluations} == {
        (name, seed, step) for name in names for seed in "01" for step in "024"
    }
    assert {row["rollouts"] for row in evaluations if row["step"] == "4"} == {"64"}
    start = {row["accuracy"] for row in evaluations if row["step"] == "0"}
    assert len(start) == 1  # all begin as the same model
    steps = rows(folder / "steps.csv")
    assert len(steps) == 3 * 2 * 4
    first = {(row["variant"], row["seed"]): row["reward"] for row in steps if row["step"] == "1"}
    for seed in "01":  # the same problems and the same random numbers for all methods
        assert len({first[name, seed] for name in names}) == 1
    assert float(next(row["seconds"] for row in evaluations if row["step"] == "4")) > 0

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["variants"].keys() == names
    assert summary["held_out_problems"] == 16
    sfpo = summary["variants"]["sfpo,inner_steps=3"]
    assert sfpo["baseline"] == "grpo"
    assert sfpo["seeds_done"] == [0, 1]
    assert sfpo["curve"]["rollouts"] == [0, 32, 64]
    assert sfpo["target_accuracy"] == summary["variants"]["grpo"]["best_accuracy"]["value"]
    assert (folder / "report.html").is_file()
    tables = (folder / "summary.md").read_text()
    assert "rollout reduction" in tables
    assert tables.count("| sfpo,inner_steps=3 |") == 2  # efficiency and accuracy
    assert not list(folder.glob("runs/*/*/checkpoint-*"))


def test_the_summary_follows_from_the_raw_records_alone(compared, tmp_path):
    from sfpo.records.summary import write_summary

    folder, _ = compared
    for name in ("comparison.json", "evaluations.csv"):
        shutil.copy(folder / name, tmp_path)
    write_summary(tmp_path)
    assert (tmp_path / "summary.json").read_text() == (folder / "summary.json").read_text()
    assert (tmp_path / "summary.md").read_text() == (folder / "summary.md").read_text()


def test_what_made_the_comparison_and_each_run_is_recorded(compared):
    folder, _ = compared
    (made_by,) = json.loads((folder / "comparison.json").read_text())["provenance"]
    assert {"python", "torch", "transformers", "trl"} <= made_by["versions"].keys()
    for path in folder.glob("runs/*/*/run.json"):
        (of_run,) = json.loads(path.read_text())["provenance"]
        assert {**of_run, "time": None} == {**made_by, "time": None}


def test_a_finished_comparison_is_not_run_again_and_can_be_extended(compared, tmp_path, capsys, monkeypatch):
    folder, arguments = compared
    copy = tmp_path / "c"
    shutil.copytree(folder, copy)
    specification = copy / "comparison.json"
    made_by = json.loads(specification.read_text())["provenance"]
    later = {"commit": "another"}
    monkeypatch.setattr("sfpo.comparison.command.provenance", lambda: later)
    before = {path: path.stat().st_mtime_ns for path in copy.glob("runs/*/*/metrics.jsonl")}
    arguments = [*SMALL, "--methods", "multi_epoch", "--seeds", "0,1", "--output_dir", copy]
    code, out, _ = compare(capsys, *arguments)
    assert code == 0
    assert "2 runs" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    summary = json.loads((copy / "summary.json").read_text())
    assert summary["variants"].keys() == {"grpo", "sfpo,inner_steps=1", "sfpo,inner_steps=3", "multi_epoch"}
    assert summary["variants"]["multi_epoch"]["target_accuracy"] == summary["variants"]["grpo"]["target_accuracy"]
    assert json.loads(specification.read_text())["provenance"] == [*made_by, later]
    later = {"commit": "makes no run"}
    assert compare(capsys, *arguments)[0] == 0
    assert json.loads(specification.read_text())["provenance"] == [*made_by, {"commit": "another"}]
    code, _, err = compare(capsys, *arguments, "--temperature", "0.5")
    assert code == 2
    assert "choose another --output_dir" in err


def test_a_failed_run_is_reported_and_leaves_the_others_alone(tmp_path, capsys):
    folder = tmp_path / "c"
    arguments = [
        "--methods",
        "grpo",
        "--seeds",
        "1",
        "--sweep",
        "attn_implementation=eager,nonsense",
        "--output_dir",
        folder,
    ]
    code, out, _ = compare(capsys, *SMALL, *arguments)
    assert code == 1
    assert "grpo,attn_implementation=nonsense, seed 0 failed" in out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["variants"]["grpo,attn_implementation=eager"]["seeds_done"] == [0]
    failed = summary["variants"]["grpo,attn_implementation=nonsense"]
    assert failed["seeds_done"] == []
    assert "nonsense" in failed["failed"][0]["error"]
    assert "Failed runs" in (folder / "summary.md").read_text()


def test_a_killed_comparison_takes_its_runs_along_and_continues(tmp_path):
    folder = tmp_path / "c"
    arguments = [*SMALL, "--save_steps", "1", "--methods", "grpo", "--seeds", "1", "--output_dir", str(folder)]
    arguments[1] = "400"
    command = [sys.executable, "-m", "sfpo.cli", "compare", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = folder / "runs" / "grpo" / "seed-0"
    deadline = time.monotonic() + LIMIT
    while not list(run.glob("checkpoint-*/trainer_state.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    metrics = run / "metrics.jsonl"
    size = -1
    while size != metrics.stat().st_size:  # the run notices soon that its parent is gone
        size = metrics.stat().st_size
        assert time.monotonic() < deadline
        time.sleep(2)
    assert len([row for row in metrics.read_text().splitlines() if '"train"' in row]) < 400

    shorter = [*arguments, "--dry_run"]
    assert main(["compare", *shorter]) == 0
    trained = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = run / "train.log"
    while "Continuing from" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    trained.kill()
    trained.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_comparison_saves_the_step_of_every_run(tmp_path, number):
    """The signal goes to all its processes, as a terminal sends Ctrl-C, and schedulers SIGTERM."""
    folder, mark = tmp_path / "c", f"compared-{os.getpid()}-{number}"
    arguments = [*SMALL, "--save_strategy", "no", "--methods", "grpo,sfpo", "--seeds", "1", "--jobs", "2"]
    arguments[1] = "400"
    command = Command(
        tmp_path, "compare", *arguments, "--output_dir", folder, start_new_session=True,
        env={**os.environ, "SFPO_TEST": mark},
    )  # fmt: skip
    runs = [folder / "runs" / method / "seed-0" for method in ("grpo", "sfpo")]
    deadline = time.monotonic() + LIMIT
    while not all(
        (run / "metrics.jsonl").exists() and '"train"' in (run / "metrics.jsonl").read_text() for run in runs
    ):
        assert command.process.poll() is None, command.said
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(command.process.pid, number)
    assert command.ended() == 128 + number, command.said
    assert f"saved in {folder}. Continue with:" in command.said
    assert "failed" not in command.said
    for run in runs:
        (checkpoint,) = run.glob("checkpoint-*")
        step = checkpoint.name.removeprefix("checkpoint-")
        assert f"{run.parent.name}, seed 0: stopped after step {step}" in command.said
        assert "Traceback" not in (run / "train.log").read_text()
    assert json.loads((folder / "comparison.json").read_text())["failed"] == {}
    assert wait_until_gone(mark) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "ppo"], "unknown method 'ppo'"),
        (["--methods", "sfpo:alfa=1"], "cannot vary 'alfa'"),
        (
            ["--methods", "grpo:alpha=0.5"],
            "grpo:alpha=0.5 has no effect, since method grpo sets alpha to 0.0: leave it out",
        ),
        (["--methods", "sfpo,grpo:inner_steps=3"], "method grpo has no use for inner_steps"),
        (["--seeds", "many"], "--seeds takes how many"),
        (["--seeds", "0"], "at least one seed"),
        (["--sweep", "innersteps=1"], "cannot vary 'innersteps'"),
        (["--sweep", "inner_steps="], "names no value"),
        (["--sweep", "inner_steps=0,1"], "inner_steps (K) must be at least 1"),
        (["--seed", "3"], "--seed is set by sfpo compare"),
        (["--no_such_option", "3"], "no_such_option"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--sweep", "entropy_window=5,10"], "--sweep entropy_window=5,10 changes no run, since the gate is off: add"),
        (["--sweep", "kl_budget=0.01,0.02"], "changes no run, since alpha is 0.8: add --alpha auto"),
        (["--methods", "grpo", "--sweep", "inner_steps=1,3"], "no method here has a use for inner_steps"),
        (
            ["--methods", "grpo", "--alpha", "0.5"],
            "--alpha 0.5 changes no run, since no method here has a use for alpha",
        ),
        (["--entropy_window", "5"], "--entropy_window 5 changes no run, since the gate is off"),
        (["--sweep", "alpha=0.5,0.50"], "'sfpo,alpha=0.5' and 'sfpo,alpha=0.50' are the same run"),
        (["--methods", "sfpo,sfpo:alpha=0.8"], "'sfpo' and 'sfpo,alpha=0.8' are the same run"),
        (["--methods", "sfpo,sfpo:learning_rate=1e-3"], "are the same run"),
        (["--methods", "grpo,sfop"], "(did you mean sfpo?)"),
        (["--sweep", "inner_stps=1,2"], "cannot vary 'inner_stps' (did you mean inner_steps?)"),
        (["--sweep", "learning_rate=1e-5,nan"], "--sweep learning_rate must be a finite number"),
        (["--sweep", "loss_type=grpo,foo"], "--sweep loss_type cannot be 'foo'"),
        (["--sweep", "seed=1,2"], "cannot vary 'seed'"),
        (["--sweep", "alpha=0.5", "--sweep", "alpha=0.6"], "--sweep alpha is given twice"),
        (["--max_setps", "3"], "(did you mean --max_steps?)"),
        (["--logging_steps", "5"], "leave --logging_steps and --logging_strategy out"),
        (["--logging_strategy", "no"], "leave --logging_steps and --logging_strategy out"),
        (["--max_steps", "-5"], "--max_steps must be at least 1"),
        (["--seeds", "99999999"], "for one such seed write --seeds 99999999,"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(arguments, said, tmp_path, capsys):
    folder = tmp_path / "c"
    code, _, err = compare(capsys, *SMALL, "--output_dir", folder, *arguments)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not folder.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("dear")
    code, _, err = compare(capsys, *SMALL, "--output_dir", tmp_path)
    assert code == 2
    assert "holds something else" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_settings_for_all_runs_are_left_out_where_they_have_no_effect(tmp_path, capsys):
    (tmp_path / "all.yaml").write_text("alpha: 0.5\ngate: exit\n")
    arguments = ["--methods", "grpo,multi_epoch,sfpo", "--seeds", "1", "--output_dir", tmp_path / "c", "--dry_run"]
    for common in (["--alpha", "0.5", "--gate", "exit"], ["--config", tmp_path / "all.yaml"]):
        code, out, err = compare(capsys, *SMALL, *arguments, *common)
        assert code == 0, err
        assert out.count("sfpo train ") == 3


def test_a_dry_run_lists_the_runs(tmp_path, capsys):
    code, out, _ = compare(capsys, *SMALL, "--methods", "grpo,sfpo", "--output_dir", tmp_path / "c", "--dry_run")
    assert code == 0
    assert out.count("sfpo train ") == 6
    assert "held-out problems tell accuracies apart only roughly" in out
    assert not (tmp_path / "c").exists()
