"""What `sfpo train` makes of an output folder whose records are damaged, or not files at all."""

import json
import os
import shutil

import pytest

from sfpo.cli import main

RUN = [
    "--max_steps", "1", "--per_device_train_batch_size", "16", "--eval_problems", "8", "--train_problems", "64",
    "--max_completion_length", "8", "--save_strategy", "no",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that kept no checkpoint."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", *RUN, "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture
def refused(capsys):
    def run(folder, *more):
        capsys.readouterr()
        code = main(["train", *RUN, "--output_dir", str(folder), *more])
        error = capsys.readouterr().err
        assert code == 2, error
        assert len(error.splitlines()) == 1
        return error

    return run


@pytest.mark.parametrize("name", ["metrics.jsonl", "completions.jsonl", "config.yaml", "run.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_before_training(tmp_path, refused, name, make):
    make(tmp_path / name)
    assert f"{tmp_path / name} is no regular file: move it away" in refused(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_where_checkpoints_are_written_is_refused_before_training(tmp_path, refused):
    (tmp_path / "_unfinished").write_text("mine")
    assert f"{tmp_path / '_unfinished'}, where checkpoints are written, is no folder: move it away" in refused(
        tmp_path
    )
    assert [path.name for path in tmp_path.iterdir()] == ["_unfinished"]


@pytest.mark.parametrize("content", ["", "null", '{"finished": 1, "steps": "1"}'])
def test_a_finished_run_whose_run_json_is_broken_is_not_trained_over(finished, tmp_path, refused, capsys, content):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "run.json").write_text(content)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert "already holds a finished run" in refused(folder)
    last = ["--resume_from_checkpoint", "last"]
    assert main(["train", *RUN, "--output_dir", str(folder), *last]) == 0
    assert "is finished: nothing is left to train" in " ".join(capsys.readouterr().out.split())
    assert "kept no checkpoint to continue from" in refused(folder, *last, "--max_steps", "2")
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_run_that_stopped_before_its_summary_is_no_finished_one(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "run.json").write_text("")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["kind"] != "summary"]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert main(["train", *RUN, "--output_dir", str(folder)]) == 0
    assert "was stopped before its first checkpoint" in " ".join(capsys.readouterr().out.split())


def test_a_run_whose_checkpoints_hold_weights_alone_is_not_trained_over(tmp_path, refused):
    folder = tmp_path / "run"
    weights_alone = ["--save_strategy", "steps", "--save_steps", "1", "--save_only_model", "true"]
    assert main(["train", *RUN, *weights_alone, "--output_dir", str(folder)]) == 0
    # As if it had been stopped after its checkpoint.
    (folder / "run.json").write_text("{}")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_text(
        "".join(
            json.dumps(row) + "\n" for row in rows if (row["kind"], row["step"]) in (("evaluation", 0), ("train", 1))
        )
    )
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    error = refused(folder, *weights_alone)
    assert "already holds a run, but no checkpoint that it can be continued from (checkpoint-1 lacks" in error
    assert "choose another --output_dir" in refused(folder, *weights_alone, "--resume_from_checkpoint", "last")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
