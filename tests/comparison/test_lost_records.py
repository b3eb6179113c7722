"""`sfpo compare` of runs whose records have lost something."""

import json
import os
import shutil

import pytest

from sfpo.cli import main
from sfpo.comparison import schedule

SMALL = [
    "--max_steps", "2", "--per_device_train_batch_size", "16", "--eval_problems", "8", "--train_problems", "64", "--jobs", "1",
    "--max_completion_length", "8", "--learning_rate", "1e-3", "--eval_every", "1", "--methods", "grpo", "--seeds", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "c"
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    return folder


def figures_of(folder):
    return json.loads((folder / "summary.json").read_text()) | {"command": None}


def lose_all(metrics):
    metrics.unlink()


def lose(row):
    def lose_rows(metrics):
        lines = metrics.read_text().splitlines(keepends=True)
        metrics.write_text("".join(line for line in lines if row not in line))

    return lose_rows


def damage_an_evaluation(metrics):
    metrics.write_text(
        metrics.read_text().replace('"evaluation", "step": 1, "accuracy": ', '"evaluation", "step": 1, "a": ')
    )


def damage_a_train_row(metrics):
    metrics.write_text(metrics.read_text().replace('"sfpo/update_seconds": ', '"sfpo/update_seconds": null, "": ', 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_all, "metrics.jsonl is missing"),
        (lose('"evaluation", "step": 1'), "has no evaluation of step 1"),
        (damage_an_evaluation, "has no evaluation of step 1"),
        (lose('"train", "step": 1'), "has no row of step 1"),
        (lose('"train", "step": 2'), "has no row of step 2"),
        (damage_a_train_row, "has no row of step 1"),
        (lambda metrics: metrics.with_name("config.yaml").write_text("["), "config.yaml is missing or broken"),
        (
            lambda metrics: metrics.with_name("run.json").write_text('{"finished": 1, "steps": 1000000000000}'),
            "has no evaluation of step 3",
        ),
    ],
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


def test_a_specification_that_is_deleted_while_the_runs_are_made_is_written_anew(compared, tmp_path, monkeypatch):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    before = json.loads((folder / "comparison.json").read_text())
    shutil.rmtree(folder / "runs" / "grpo" / "seed-1")
    run_all = schedule.run_all

    def losing_the_specification(*arguments):
        yield from run_all(*arguments)
        (folder / "comparison.json").unlink()

    monkeypatch.setattr(schedule, "run_all", losing_the_specification)
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    after = json.loads((folder / "comparison.json").read_text())
    assert [after[key] for key in ("seeds", "variants", "train")] == [
        before[key] for key in ("seeds", "variants", "train")
    ]
    assert after["provenance"]


def test_a_failed_run_stays_one_when_others_are_added(compared, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    shutil.rmtree(folder / "runs" / "grpo" / "seed-1")
    specification = json.loads((folder / "comparison.json").read_text())
    # Seed 0 has finished since.
    specification["failed"] = {"grpo": [{"seed": seed, "error": "no memory"} for seed in (0, 1)]}
    (folder / "comparison.json").write_text(json.dumps(specification))
    only_the_first = [*SMALL[:-1], "1"]
    assert main(["compare", *only_the_first, "--output_dir", str(folder)]) == 0
    failed = json.loads((folder / "comparison.json").read_text())["failed"]
    assert failed == {"grpo": [{"seed": 1, "error": "no memory"}]}
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    assert json.loads((folder / "comparison.json").read_text())["failed"] == {}


def test_a_finished_run_whose_folder_is_deleted_is_made_again(compared, tmp_path):
    # As the message on lost metrics says.
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    shutil.rmtree(folder / "runs" / "grpo" / "seed-1")
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    summary = json.loads((folder / "summary.json").read_text())["variants"]["grpo"]
    assert (summary["seeds_done"], summary["failed"]) == ([0, 1], [])


@pytest.mark.parametrize("content", ['{"started": 1', "", "[]", '{"steps": "2"}', None])
def test_a_finished_run_without_its_run_json_is_counted_and_not_made_again(compared, tmp_path, capsys, content):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    facts = folder / "runs" / "grpo" / "seed-1" / "run.json"
    if content is None:
        facts.unlink()
    else:
        facts.write_text(content)
    metrics = facts.with_name("metrics.jsonl").read_bytes()
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "0 runs of 2 steps to make" in out
    assert f"{facts} is missing or broken; the run's metrics say that it finished" in out
    assert facts.with_name("metrics.jsonl").read_bytes() == metrics
    assert figures_of(folder) == figures_of(compared)


def test_rows_that_are_there_twice_or_at_no_step_that_was_due_do_not_count(compared, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    metrics = folder / "runs" / "grpo" / "seed-1" / "metrics.jsonl"
    (first, *_) = lines = metrics.read_text().splitlines(keepends=True)
    (trained,) = (line for line in lines if '"train", "step": 1' in line)
    more = [first, first.replace('"step": 0', '"step": 7'), trained.replace('"step": 1', '"step": 7'), "{}\n"]
    metrics.write_text("".join([*reversed(lines), *more]))
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    assert figures_of(folder) == figures_of(compared)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("null", "holds null instead of an object"),
        ("{}", "has no 'command'"),
        ('"seeds": null', "has null as 'seeds'"),
        ('"name": 3', "has 3 as 'variants[0].name'"),
    ],
)
def test_a_comparison_whose_record_is_broken_goes_on_without_it(compared, tmp_path, capsys, content, said):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    record = folder / "comparison.json"
    key = content.partition(":")[0]
    if ":" in content:
        broken = json.loads(record.read_text())
        place = broken if key == '"seeds"' else broken["variants"][0]
        place |= json.loads(f"{{{content}}}")
        content = json.dumps(broken)
    record.write_text(content)
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 2
    err = capsys.readouterr().err
    assert f"{record} {said}" in err
    assert "delete it to continue with what its runs have made" in err
    assert len(err.strip().splitlines()) == 1
    # As the message says.
    record.unlink()
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 0
    assert "0 runs of 2 steps to make" in capsys.readouterr().out
    assert figures_of(folder) == figures_of(compared)
    ours, theirs = (json.loads((one / "comparison.json").read_text()) for one in (folder, compared))
    assert ours.pop("provenance") == [{}]
    del theirs["provenance"], ours["command"], theirs["command"]
    assert ours == theirs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "1"], "seed-1 is none of the runs that are asked for"),
        (["--methods", "sfpo"], "is none of the runs that are asked for"),
        (["--learning_rate", "1e-4"], "was made with other settings (learning_rate: 0.001)"),
    ],
)
def test_runs_of_another_comparison_are_not_taken_for_those_of_a_lost_record(
    compared, tmp_path, capsys, options, said
):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    (folder / "comparison.json").unlink()
    before = sorted(path.name for path in folder.rglob("*"))
    assert main(["compare", *SMALL, *options, "--output_dir", str(folder)]) == 2
    err = capsys.readouterr().err
    assert "has lost comparison.json" in err
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["comparison.json", "runs/grpo/seed-1/run.json", "runs/grpo/seed-0/metrics.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_by_its_name(compared, tmp_path, capsys, name, make):
    folder = tmp_path / "c"
    shutil.copytree(compared, folder)
    (folder / name).unlink()
    make(folder / name)
    assert main(["compare", *SMALL, "--output_dir", str(folder)]) == 2
    err = capsys.readouterr().err
    assert f"{folder / name} is no regular file: move it away" in err
    assert len(err.strip().splitlines()) == 1


def test_what_a_comparison_left_that_was_killed_in_its_first_write_is_no_hindrance(tmp_path):
    (tmp_path / ".comparison.json.new").write_text("{")
    assert main(["compare", *SMALL, "--output_dir", str(tmp_path), "--dry_run"]) == 0
