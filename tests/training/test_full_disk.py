"""Disks that are full or read-only, and folders that vanish, under each command that writes for long."""

import json
import shlex
import shutil

import pytest
from small_disk import mounted

from sfpo.cli import main
from sfpo.evaluation.engines import TransformersEngine
from sfpo.training.records import RecordedReward

SMALL = [
    "--max_steps", "3", "--per_device_train_batch_size", "16", "--eval_problems", "8", "--train_problems", "64",
    "--max_completion_length", "12", "--learning_rate", "1e-3", "--inner_steps", "1", "--save_steps", "1",
]  # fmt: skip
AMPLE = 200_000
# The weights of the embedded model take 1.8 or 3.6 MB, Adam's moments twice as much.
ONE_CHECKPOINT = 19_000


@pytest.fixture
def disk(tmp_path):
    disk = mounted(tmp_path / "disk", AMPLE)
    yield disk
    disk.unmount()


@pytest.fixture
def evaluation(tmp_path):
    path = tmp_path / "sums.jsonl"
    problems = [{"problem": f"{n}+{n % 7}-3=", "answer": str(n + n % 7 - 3)} for n in range(1, 11)]
    path.write_text("\n".join(map(json.dumps, problems)))
    return ["eval", "--benchmarks", str(path), "--prompt_template", "plain", "--samples", "3", "--max_new_tokens", "12",
            "--batch_size", "4", "--top_p", "1"]  # fmt: skip


def run(capsys, *arguments):
    """Exit code, what was printed, and the errors, which are one line where the command failed."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    if code:
        assert code == 2
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.out
    return code, captured.out, captured.err


def command_in(error):
    """The arguments of the command that an error ends with."""
    return shlex.split(error.partition(" with: ")[2])[1:]


def before(monkeypatch, target, name, call, act):
    """Do something to the disk in the middle of what a command does."""
    original, calls = getattr(target, name), []

    def acted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == call:
            act()
        return original(*arguments, **keywords)

    monkeypatch.setattr(target, name, acted)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(disk, tmp_path, capsys):
    disk.resize(ONE_CHECKPOINT)
    whole, folder = tmp_path / "whole", disk.path / "run"
    assert run(capsys, "train", *SMALL, "--output_dir", whole)[0] == 0
    code, _, error = run(capsys, "train", *SMALL, "--output_dir", folder)
    assert code == 2
    assert "disk is full" in error or "No space left on device" in error
    arguments = command_in(error)
    assert arguments == ["train", *SMALL, "--output_dir", str(folder), "--resume_from_checkpoint", "last"]
    disk.resize(AMPLE)
    code, out, error = run(capsys, *arguments)
    assert code == 0, error
    assert "(step 1)" in " ".join(out.split())
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_disk_without_room_for_a_row(disk, capsys, monkeypatch):
    disk.resize(16)
    folder = disk.path / "run"
    code, _, error = run(capsys, "train", *SMALL, "--output_dir", folder)
    assert code == 2
    assert "No space left on device" in error
    assert command_in(error) == ["train", *SMALL, "--output_dir", str(folder)]


def test_an_evaluation_on_a_full_disk_goes_on_when_there_is_room(disk, evaluation, tmp_path, capsys, monkeypatch):
    assert run(capsys, *evaluation, "--output_dir", tmp_path / "whole")[0] == 0
    folder = disk.path / "run"
    with monkeypatch.context() as patch:
        # So full that a batch is cut off in the middle of a row.
        before(patch, TransformersEngine, "generate", 3, disk.fill)
        code, _, error = run(capsys, *evaluation, "--output_dir", folder)
    assert code == 2
    assert "No space left on device" in error
    (disk.path / "filler").unlink()
    code, _, error = run(capsys, *command_in(error))
    assert code == 0, error
    whole = (tmp_path / "whole" / "completions.jsonl").read_text()
    assert (folder / "completions.jsonl").read_text() == whole


@pytest.mark.parametrize("command", ["train", "compare", "eval"])
def test_a_read_only_disk(disk, evaluation, capsys, command):
    (disk.path / "there").mkdir()
    disk.make_read_only()
    arguments = {
        "train": ["train", *SMALL],
        "compare": ["compare", *SMALL, "--methods", "sfpo", "--seeds", "1"],
        "eval": evaluation,
    }
    for folder in ("there", "new"):
        code, _, error = run(capsys, *arguments[command], "--output_dir", disk.path / folder)
        assert code == 2
        assert "Read-only file system" in error
        assert "choose another --output_dir" in error


def test_a_training_whose_folder_is_deleted(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    before(monkeypatch, RecordedReward, "__call__", 2, lambda: shutil.rmtree(folder))
    code, _, error = run(capsys, "train", *SMALL, "--output_dir", folder)
    assert code == 2
    assert (
        error == f"sfpo train: {folder} was deleted or moved while it was written to: move it back, or start again\n"
    )
    assert not folder.exists()


def test_an_evaluation_whose_folder_is_moved(evaluation, tmp_path, capsys, monkeypatch):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with monkeypatch.context() as patch:
        before(patch, TransformersEngine, "generate", 3, lambda: folder.rename(elsewhere))
        code, _, error = run(capsys, *evaluation, "--output_dir", folder)
    assert code == 2
    assert "was deleted or moved" in error
    elsewhere.rename(folder)
    assert run(capsys, *evaluation, "--output_dir", folder)[0] == 0
    assert len((folder / "completions.jsonl").read_text().splitlines()) == 30
