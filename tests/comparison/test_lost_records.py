"""`sfpo compare` of runs whose records have lost something."""

import json
import shutil

import pytest

from sfpo.cli import main

SMALL = [
    "--max_steps", "2", "--per_device_train_batch_size", "16", "--eval_problems", "8", "--train_problems", "64", "--jobs", "1",
    "--max_completion_length", "8", "--learning_rate", "1e-3", "--eval_every", "1", "--methods", "grpo", "--seeds", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "c"
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    return folder


def lose_all(metrics):
    metrics.unlink()


def lose_an_evaluation(metrics):
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if '"evaluation", "step": 1' not in line))


@pytest.mark.parametrize(
    ("damage", "said"), [(lose_all, "metrics.jsonl is missing"), (lose_an_evaluation, "has no evaluation of step 1")]
)
def test_a_finished_run_without_its_metrics_is_reported(compared, tmp_path, capsys, damage, said):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    damage(folder / "runs" / "grpo" / "seed-1" / "metrics.jsonl")
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "grpo, seed 1 cannot be counted: it finished, but" in out
    assert said in out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["variants"]["grpo"]["seeds_done"] == [0]
    assert [one["seed"] for one in summary["variants"]["grpo"]["failed"]] == [1]
    assert said in (folder / "summary.md").read_text()
    # As the message says: without its folder, it is made again.
    shutil.rmtree(folder / "runs" / "grpo" / "seed-1")
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    summary = json.loads((folder / "summary.json").read_text())["variants"]["grpo"]
    assert (summary["seeds_done"], summary["failed"]) == ([0, 1], [])


def test_run_json_that_is_torn_does_not_end_the_comparison(compared, tmp_path, capsys):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    (folder / "runs" / "grpo" / "seed-1" / "run.json").write_text('{"started": 1')
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    before, after = (
        [(row["kind"], row["step"], row.get("accuracy"), row.get("reward")) for row in read(one)]
        for one in (compared, folder)
    )
    assert after == before


def test_what_a_comparison_left_that_was_killed_in_its_first_write_is_no_hindrance(tmp_path):
    (tmp_path / ".comparison.json.new").write_text("{")
    assert main(["compare", *SMALL, "--output_dir", str(tmp_path), "--dry_run"]) == 0


def read(folder):
    lines = (folder / "runs" / "grpo" / "seed-1" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
