"""Names that mean something to a terminal, a shell or a pattern are names."""

import json

import pytest

from sfpo.cli import main

# What looks like a closing tag is a folder whose name ends with "[".
NAME = "u[bold]x [/b] p[1] q* {a} 'n' é"
SMALL = [
    "--max_steps", "1", "--per_device_train_batch_size", "8", "--eval_problems", "8", "--max_completion_length", "4",
    "--inner_steps", "1", "--save_strategy", "no",
]  # fmt: skip


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / f"{NAME}.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(json.dumps({"problem": f"{n}+1=", "answer": str(n + 1)}) for n in range(80)))
    return path


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def test_in_sfpo_train(problems, tmp_path, capsys):
    folder = tmp_path / f"run {NAME}"
    task = ["--task", "file", "--data_path", problems, "--prompt_column", "problem"]
    out = run(capsys, "train", *SMALL, *task, "--output_dir", folder)
    assert str(folder / "metrics.jsonl") in out
    assert "[bold]x" in out
    out = run(capsys, "train", *SMALL, *task, "--model", folder, "--output_dir", tmp_path / "dry", "--dry_run")
    assert "80 problems" not in out
    assert "held out" in out


def test_in_sfpo_eval(problems, tmp_path, capsys):
    folder = tmp_path / f"run {NAME}"
    options = ["--prompt_template", "plain", "--samples", "1", "--max_new_tokens", "4", "--limit", "2"]
    for _ in range(2):  # the second one continues
        out = run(capsys, "eval", *options, "--benchmarks", problems, "--output_dir", folder)
    assert "Continuing" in out
    assert str(folder / "completions.jsonl") in out
