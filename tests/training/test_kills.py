"""`sfpo train`, killed anywhere and started again, ends as if nothing had happened."""

import json
import re
import shutil
import sys

import pytest
from kills import KILLED, WHOLE, contents, forked, kill_at_line

from sfpo.checkpoints import newest_complete
from sfpo.cli import main

RUN = [
    "--max_steps", "4", "--per_device_train_batch_size", "16", "--eval_problems", "16", "--train_problems", "64", "--eval_every",
    "2", "--max_completion_length", "12", "--save_steps", "2", "--save_total_limit", "1", "--learning_rate", "1e-3",
]  # fmt: skip
LAST = ["--resume_from_checkpoint", "last"]
# From the first record to the last: what the command does, how rows and files are written, checkpoints, the final model.
FILES = ("training/command.py", "training/records.py", "records/rows.py", "sfpo/whole.py")
FUNCTIONS = ("_save_checkpoint", "_save", "save_model", "writing", "_put", "_rotate", "_delete", "answer", "evaluate")


def train(folder, *more):
    """Exit code of the command, in this process."""
    return main(["train", *RUN, "--output_dir", str(folder), *more])


def again(folder, capfd):
    """Give the command that the state of the folder asks for; what it printed."""
    more = LAST if newest_complete(folder).checkpoint else []
    assert forked(lambda: sys.exit(train(folder, *more))) == WHOLE, capfd.readouterr().err
    return " ".join(capfd.readouterr().out.split())


def rows(folder, name):
    """The rows without what is measured in seconds; of the summary only that it is there."""
    read = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    timeless = [{k: v for k, v in row.items() if "second" not in k and "time" not in k} for row in read]
    return [{k: row[k] for k in ("kind", "step")} if row.get("kind") == "summary" else row for row in timeless]


def assert_as_whole(folder, whole):
    for name in ("metrics.jsonl", "completions.jsonl"):
        assert rows(folder, name) == rows(whole, name)
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert json.loads((folder / "run.json").read_text())["steps"] == 4
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was not killed, and how many lines there are to kill it at."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    count = folder.parent / "lines"

    def counted():
        lines = kill_at_line(0, FILES, FUNCTIONS)
        assert train(folder) == 0
        sys.settrace(None)
        count.write_text(str(lines()))

    assert forked(counted) == WHOLE
    return folder, int(count.read_text())


QUICK = (0.03, 0.5, 0.8, 0.99)
SLOW = tuple(share / 20 for share in range(1, 20) if share not in (10, 16))


@pytest.mark.parametrize("share", [*QUICK, *(pytest.param(share, marks=pytest.mark.slow) for share in SLOW)])
def test_a_killed_run_ends_as_one_that_was_not(whole, tmp_path, capfd, share):
    folder, lines = whole

    def killed():
        kill_at_line(round(share * lines), FILES, FUNCTIONS)
        train(tmp_path / "run")

    assert forked(killed) == KILLED
    capfd.readouterr()
    again(tmp_path / "run", capfd)
    assert_as_whole(tmp_path / "run", folder)


def test_a_finished_run_is_finished(whole, tmp_path, capfd):
    shutil.copytree(whole[0], tmp_path / "run")
    before = contents(tmp_path / "run")
    assert "is finished, with step 4 of 4" in again(tmp_path / "run", capfd)
    assert contents(tmp_path / "run") == before


def test_what_a_finished_run_lost_is_made_again(whole, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    (folder / "model.safetensors").unlink()
    (folder / "run.json").write_text("{")
    *kept, evaluation, train_4, summary = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    assert '"evaluation", "step": 4' in evaluation
    (folder / "metrics.jsonl").write_text("".join([*kept, train_4, summary[:30]]))
    out = again(folder, capfd)
    for said in ("is finished, with step 4 of 4", "metrics.jsonl had 1 torn row, now dropped", "run.json was missing"):
        assert said in out
    made, before = (sorted(map(str, rows(where, "metrics.jsonl"))) for where in (folder, whole[0]))
    assert made == before
    assert (folder / "model.safetensors").read_bytes() == (whole[0] / "model.safetensors").read_bytes()
    assert json.loads((folder / "run.json").read_text())["steps"] == 4
    assert "nothing" not in again(folder, capfd).lower()  # now it is all there


@pytest.mark.parametrize("content", [b"", bytes(1_000), "zeros"], ids=["empty", "short", "zeros of its size"])
def test_a_finished_run_whose_model_is_damaged_makes_it_again(whole, tmp_path, capfd, content):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    model = folder / "model.safetensors"
    before = model.read_bytes()
    model.write_bytes(bytes(len(before)) if content == "zeros" else content)
    assert "Warning: its model lacks" in again(folder, capfd)
    assert model.read_bytes() == before
    assert "Warning" not in again(folder, capfd)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("")
        assert f"Warning: its model lacks a part of {name}" in again(folder, capfd)
        assert (folder / name).read_bytes() == (whole[0] / name).read_bytes()
    model.write_bytes(b"")
    shutil.rmtree(folder / "checkpoint-4")
    assert train(folder, *LAST) == 2
    assert "lacks a part of model.safetensors" in (said := capfd.readouterr().err)
    assert "no checkpoint to make it from" in said


@pytest.mark.parametrize(
    "state", ["{}", "null", "[]", '{"global_step": 0}', '{"global_step": 4, "log_history": null}']
)
def test_a_trainers_state_of_another_shape_changes_nothing(whole, tmp_path, capfd, state):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    (folder / "checkpoint-4" / "trainer_state.json").write_text(state)
    facts = json.loads((folder / "run.json").read_text())
    del facts["finished"]
    (folder / "run.json").write_text(json.dumps(facts))
    before = contents(folder)
    assert train(folder, *LAST) == 2
    assert re.search(r"\(checkpoint-4 lacks a (whole|part of) trainer_state\.json", capfd.readouterr().err)
    assert train(folder, "--resume_from_checkpoint", str(folder / "checkpoint-4")) == 2
    assert re.search(r"checkpoint-4 lacks a (whole|part of) trainer_state\.json", capfd.readouterr().err)
    assert contents(folder) == before


def test_rows_lost_before_the_checkpoint_are_made_again(whole, tmp_path, capfd):
    folder = tmp_path / "run"

    def killed():
        kill_at_line(1, (), ("making_batch",))
        train(folder, "--save_total_limit", "5", "--resume_from_checkpoint", str(folder / "checkpoint-2"))

    assert forked(lambda: sys.exit(train(folder, "--save_total_limit", "5"))) == WHOLE
    assert forked(killed) == KILLED  # so that checkpoint-2 is the newest
    kept = [line for line in (folder / "metrics.jsonl").read_text().splitlines(keepends=True) if '"train"' not in line]
    (folder / "metrics.jsonl").write_text("".join(kept))
    assert "had lost 2 rows of training, now made again" in again(folder, capfd)
    made, before = (
        sorted(json.dumps(row, sort_keys=True) for row in rows(where, "metrics.jsonl")) for where in (folder, whole[0])
    )
    assert made == before
    kept = [
        line for line in (folder / "metrics.jsonl").read_text().splitlines(keepends=True) if '"step": 2' not in line
    ]
    (folder / "metrics.jsonl").write_text("".join(kept))
    assert "metrics.jsonl has no evaluation of step 2, and it cannot be made again" in again(folder, capfd)
    assert [row["step"] for row in rows(folder, "metrics.jsonl") if row["kind"] == "train"] == [1, 2, 3, 4]


def test_a_finished_run_can_be_extended(whole, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)

    def extended():
        assert train(folder, *LAST, "--max_steps", "6") == 0

    assert forked(extended) == WHOLE
    assert [row["step"] for row in rows(folder, "metrics.jsonl") if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert json.loads((folder / "run.json").read_text())["steps"] == 6


def test_going_back_makes_later_checkpoints_again(tmp_path, capfd):
    folder = tmp_path / "run"
    assert forked(lambda: sys.exit(train(folder, "--save_total_limit", "5"))) == WHOLE
    kept = folder / "checkpoint-4" / "model.safetensors"
    before = kept.read_bytes(), rows(folder, "metrics.jsonl")

    def killed():
        kill_at_line(1, (), ("making_batch",))
        train(folder, "--save_total_limit", "5", "--resume_from_checkpoint", str(folder / "checkpoint-2"))

    assert forked(killed) == KILLED
    assert newest_complete(folder).checkpoint == folder / "checkpoint-2"
    assert forked(lambda: sys.exit(train(folder, "--save_total_limit", "5", *LAST))) == WHOLE
    assert (kept.read_bytes(), rows(folder, "metrics.jsonl")) == before


def test_a_run_killed_before_its_first_checkpoint_is_started_again_by_the_same_command_alone(whole, tmp_path, capfd):
    folder = tmp_path / "run"

    def killed():
        kill_at_line(1, (), ("writing",))
        train(folder)

    assert forked(killed) == KILLED
    shutil.copytree(folder, tmp_path / "other")
    capfd.readouterr()
    assert "Starting again" in again(folder, capfd)
    assert_as_whole(folder, whole[0])
    before = contents(tmp_path / "other")
    assert train(tmp_path / "other", "--learning_rate", "1e-4") == 2
    assert "other settings (learning_rate: 0.001)" in capfd.readouterr().err
    assert train(tmp_path / "other", *LAST) == 2
    assert "start without --resume_from_checkpoint" in capfd.readouterr().err
    assert contents(tmp_path / "other") == before


def test_an_incomplete_checkpoint_is_skipped_and_named(whole, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    (folder / "checkpoint-4" / "optimizer.pt").unlink()
    assert train(folder, *LAST) == 0
    # Nothing else is left of a finished run, and nothing is to be trained.
    out = capfd.readouterr().out
    assert "checkpoint-4 lacks optimizer.pt" in " ".join(out.split())
    assert "is finished" in out
    assert train(folder, "--resume_from_checkpoint", str(folder / "checkpoint-4")) == 2
    assert "checkpoint-4 lacks optimizer.pt: give another checkpoint" in capfd.readouterr().err
    facts = json.loads((folder / "run.json").read_text())
    del facts["finished"]
    (folder / "run.json").write_text(json.dumps(facts))
    assert train(folder, *LAST) == 2
    assert "no complete checkpoint to continue from (checkpoint-4 lacks optimizer.pt)" in capfd.readouterr().err
