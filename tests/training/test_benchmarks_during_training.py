"""Benchmarks at the evaluations of a training run."""

import json

import pytest

from sfpo.cli import main

SMALL = [
    "--max_steps", "2", "--per_device_train_batch_size", "16", "--eval_problems", "8", "--train_problems", "64",
    "--max_completion_length", "8", "--save_steps", "1", "--save_total_limit", "10",
]  # fmt: skip


@pytest.fixture
def sums(tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(json.dumps({"problem": f"{n}+1=", "answer": str(n + 1)}) for n in range(6)))
    return path


def train(capsys, *arguments):
    code = main(["train", *SMALL, *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def metrics(folder, kind):
    return [
        row
        for line in (folder / "metrics.jsonl").read_text().splitlines()
        if (row := json.loads(line))["kind"] == kind
    ]


def test_rows_at_every_evaluation_and_the_same_training(sums, tmp_path, capsys):
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    assert train(capsys, "--output_dir", plain)[0] == 0
    code, _, err = train(
        capsys, "--output_dir", watched, "--eval_benchmarks", sums, "--eval_every", "1", "--eval_samples", "2",
        "--eval_limit", "5", "--prompt_template", "plain",
    )  # fmt: skip
    assert code == 0, err
    found = metrics(watched, "benchmark")
    assert [(row["step"], row["benchmark"], row["problems"], row["samples"]) for row in found] == [
        (step, "sums", 5, 2) for step in (0, 1, 2)
    ]
    assert all(0 <= row["pass@1_low"] <= row["pass@1"] <= row["pass@1_high"] <= 1 for row in found)
    rewards = [[row["reward"] for row in metrics(folder, "train")] for folder in (plain, watched)]
    assert rewards[0] == rewards[1]


def test_a_continued_run_does_not_answer_twice(sums, tmp_path, capsys):
    options = ["--output_dir", tmp_path / "run", "--eval_benchmarks", sums, "--eval_samples", "1"]
    assert train(capsys, *options)[0] == 0
    code, _, err = train(capsys, *options, "--resume_from_checkpoint", tmp_path / "run" / "checkpoint-1")
    assert code == 0, err
    assert [row["step"] for row in metrics(tmp_path / "run", "benchmark")] == [0, 2]


def test_an_unknown_or_unreachable_benchmark_is_said_before_training(tmp_path, capsys):
    for name, message in (("maths500", "unknown benchmark"), ("aime24", "aime24.jsonl with --benchmark_data_path")):
        code, _, err = train(capsys, "--output_dir", tmp_path / "run", "--eval_benchmarks", name)
        assert code == 2
        assert message in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_configuration_file_may_name_benchmarks_in_one_text(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("eval_benchmarks: sums.jsonl,maths500\n")
    code, _, err = train(capsys, "--config", tmp_path / "run.yaml", "--output_dir", tmp_path / "run")
    assert code == 2
    assert "unknown benchmark 'maths500'" in err
