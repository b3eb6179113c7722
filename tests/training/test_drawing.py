"""The problems of a generated task are drawn when the run is known to be possible, and as many as it needs."""

import io

import pytest
from rich.console import Console

from sfpo.cli import main
from sfpo.tasks import gym, load_task
from sfpo.training.drawing import draw, problems_needed
from sfpo.training.options import parse


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("--task gym:countdown --max_steps 10 --per_device_train_batch_size 16", 10 * 2),
        (
            "--task gym:countdown --max_steps 10 --per_device_train_batch_size 16 --gradient_accumulation_steps 2",
            10 * 4,
        ),
        ("--task gym:countdown --max_steps 10 --per_device_train_batch_size 16 --steps_per_generation 2", 5 * 4),
        ("--task gym:countdown --max_steps 10 --per_device_train_batch_size 16 --train_problems 12", 12),
        ("--task gym:countdown --model some/model --train_problems 77", 77),
        ("--task arithmetic --max_steps 2", 10_000),
    ],
)
def test_as_many_as_the_prompts_of_the_run(arguments, needed):
    parsed = parse(arguments.split())
    assert problems_needed(parsed.command, parsed.training) == needed


def test_a_gym_task_draws_when_its_problems_are_needed(monkeypatch):
    asked = []
    original = gym._draw
    monkeypatch.setattr(gym, "_draw", lambda *a, **k: asked.append(a[3]) or original(*a, **k))
    task = load_task("gym:chain_sum", train_problems=20, eval_problems=5)
    assert asked == [1]  # whether the parameters are taken
    assert (task.train_size, task.held_out_size, task.is_drawn) == (20, 5, False)
    screen = io.StringIO()
    drawn = draw(Console(file=screen), task)
    assert asked == [1, 20, 5]
    assert (len(drawn.train), len(drawn.held_out), drawn.is_drawn) == (20, 5, True)
    assert screen.getvalue() == "Drawing 25 problems of gym:chain_sum ...\n"
    row = drawn.train[3]
    assert drawn.reward(completions=[row["answer"]], entry=[row["entry"]]) == [1.0]
    assert [*drawn.train["prompt"]] == [*task.train["prompt"]]  # the same ones, whoever draws them


def test_every_problem_is_counted():
    counted = []
    load_task("gym:chain_sum", train_problems=7, eval_problems=2).drawn(lambda: counted.append(1))
    assert len(counted) == 9


def test_a_wrong_model_is_refused_before_any_problem_is_drawn(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gym, "_draw", lambda *a, **k: pytest.fail("problems were drawn"))
    arguments = ["--task", "gym:countdown", "--output_dir", str(tmp_path / "run"), "--dry_run"]
    assert main(["train", "--model", str(tmp_path / "nowhere"), *arguments]) == 2
    assert "no model folder" in capsys.readouterr().err


def test_a_dry_run_draws_one_problem(monkeypatch, capsys, tmp_path):
    asked = []
    original = gym._draw
    monkeypatch.setattr(gym, "_draw", lambda *a, **k: asked.append(a[3]) or original(*a, **k))
    arguments = ["--task", "gym:chain_sum", "--output_dir", str(tmp_path / "run"), "--dry_run", "--max_steps", "6"]
    assert main(["train", *arguments]) == 0
    assert asked == [1]
    assert "96 problems to train on, 512 held out" in capsys.readouterr().out


def test_completions_longer_than_the_model_reads_are_refused(capsys, tmp_path):
    arguments = ["--max_completion_length", "100000000", "--output_dir", str(tmp_path / "run"), "--dry_run"]
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert "--max_completion_length 100000000 is more than embedded can read: 12,800 tokens at most" in error
    assert len(error.splitlines()) == 1
