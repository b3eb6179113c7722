"""`sfpo eval` as a user types it, on a real model and files."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from kills import KILLED, WHOLE, forked, kill_at_line
from shared_data import FOLDER, needs_data
from slices import BENCHMARKS

from sfpo.cli import main
from sfpo.evaluation.engines import TransformersEngine


def run(capsys, *arguments):
    """Exit code and what was printed, screen then errors."""
    code = main(["eval", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows(folder):
    return [json.loads(line) for line in (Path(folder) / "completions.jsonl").read_text().splitlines()]


@pytest.fixture
def sums(tmp_path):
    """A benchmark that the embedded model's vocabulary can write."""
    path = tmp_path / "sums.jsonl"
    problems = [{"id": f"sum-{n}", "problem": f"{n}+{n % 7}-3=", "answer": str(n + n % 7 - 3)} for n in range(1, 11)]
    path.write_text("\n".join(map(json.dumps, problems)))
    return path


@pytest.fixture
def small(sums):
    return ["--benchmarks", sums, "--prompt_template", "plain", "--samples", "3", "--max_new_tokens", "12",
            "--batch_size", "4", "--top_p", "1"]  # fmt: skip


def test_every_answer_is_graded_and_counted(small, tmp_path, capsys):
    folder = tmp_path / "run"
    code, out, err = run(capsys, *small, "--output_dir", folder)
    assert code == 0, err
    answers = rows(folder)
    assert [(row["id"], row["sample"]) for row in answers] == [(f"sum-{n}", k) for n in range(1, 11) for k in range(3)]
    assert all(row["prompt"].endswith("-3=") and 1 <= row["tokens"] <= 12 for row in answers)
    assert all(row["correct"] == (row["status"] == "correct") for row in answers)
    assert len({row["completion"] for row in answers}) > 10
    results = json.loads((folder / "results.json").read_text())
    (result,) = results["benchmarks"]
    assert (result["benchmark"], result["problems"], result["samples"]) == ("sums", 10, 3)
    assert result["pass@1"] == pytest.approx(sum(row["correct"] for row in answers) / 30)
    solved = {row["id"] for row in answers if row["correct"]}
    assert result["pass@3"] == pytest.approx(len(solved) / 10)
    assert result["pass@1_low"] <= result["pass@1"] <= result["pass@1_high"]
    assert result["mean_length"] == pytest.approx(sum(row["tokens"] for row in answers) / 30)
    assert result["cut_off"] == pytest.approx(sum(row["cut_off"] for row in answers) / 30)
    assert sum(result["verdicts"].values()) == 30
    assert results["settings"]["temperature"] == 1.0
    for said in ("sums", f"{result['pass@1']:.1%}", "pass@3", str(folder / "results.json")):
        assert said in out


def test_an_interrupted_run_goes_on_as_it_would_have(small, tmp_path, capsys, monkeypatch):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert run(capsys, *small, "--output_dir", whole)[0] == 0
    generate = TransformersEngine.generate
    calls = []

    def interrupted(self, prompts, seeds):
        calls.append(len(prompts))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return generate(self, prompts, seeds)

    with monkeypatch.context() as patch:
        patch.setattr(TransformersEngine, "generate", interrupted)
        code, out, _ = run(capsys, *small, "--output_dir", part)
    assert code == 130
    assert f"Stopped. 12 answers are saved in {part}. Continue with:" in " ".join(out.split())
    assert shlex.split(out.splitlines()[-1])[1:] == ["eval", *map(str, small), "--output_dir", str(part)]
    assert len(rows(part)) == 12
    assert not (part / "results.json").exists()
    # The power fails while a line is written.
    with (part / "completions.jsonl").open("a") as file:
        file.write('{"benchmark": "sums", "id": "sum-5", "sam')
    code, out, err = run(capsys, *small, "--output_dir", part)
    assert code == 0, err
    assert "12 answers are there, 18 are to come" in " ".join(out.split())
    assert (part / "completions.jsonl").read_text() == (whole / "completions.jsonl").read_text()
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (part, whole))
    (made_by,), (other,) = ours.pop("provenance"), theirs.pop("provenance")
    assert {**made_by, "time": None} == {**other, "time": None}
    assert list(ours.items()) == list(theirs.items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_model_loads_it_stops_at_once(small, tmp_path, capsys, monkeypatch, number):
    monkeypatch.setattr("sfpo.evaluation.engines.start", lambda *_: os.kill(os.getpid(), number))
    code, out, err = run(capsys, *small, "--output_dir", tmp_path / "run")
    assert code == 128 + number
    assert err == ""
    assert f"Stopped. 0 answers are saved in {tmp_path / 'run'}" in " ".join(out.split())
    monkeypatch.undo()
    assert run(capsys, *shlex.split(out.splitlines()[-1])[2:])[0] == 0
    assert len(rows(tmp_path / "run")) == 30


def test_answers_do_not_depend_on_their_batch(small, tmp_path, capsys):
    whole, torn, other = (tmp_path / name for name in ("whole", "torn", "other"))
    assert run(capsys, *small, "--output_dir", whole)[0] == 0
    # Killed in the middle of writing a batch: 6 answers and a part of the seventh.
    lines = (whole / "completions.jsonl").read_bytes().splitlines(keepends=True)
    torn.mkdir()
    for name in ("settings.json", "completions.jsonl"):
        (torn / name).write_bytes((whole / name).read_bytes())
    (torn / "completions.jsonl").write_bytes(b"".join(lines[:6]) + lines[6][:40])
    code, out, err = run(capsys, *small, "--output_dir", torn)
    assert code == 0, err
    assert "completions.jsonl had 1 damaged row, now dropped" in " ".join(out.split())
    assert (torn / "completions.jsonl").read_bytes() == b"".join(lines)
    assert run(capsys, *small, "--batch_size", "7", "--output_dir", other)[0] == 0
    assert (other / "completions.jsonl").read_bytes() == b"".join(lines)


def test_a_row_that_is_there_twice_counts_once(small, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    before = (folder / "results.json").read_text()
    first = (folder / "completions.jsonl").read_text().splitlines(keepends=True)[0]
    with (folder / "completions.jsonl").open("a") as file:
        file.write(first)
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    assert (folder / "results.json").read_text() == before


@pytest.mark.parametrize("share", [0.1, 0.45, 0.55, 0.8, 0.97])
def test_a_killed_evaluation_ends_as_one_that_was_not(small, tmp_path, capfd, share):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    files = ("evaluation/records.py", "records/rows.py", "sfpo/whole.py", "evaluation/run.py")
    count = tmp_path / "lines"

    def counted():
        lines = kill_at_line(0, files)
        main(["eval", *map(str, small), "--output_dir", str(whole)])
        sys.settrace(None)
        count.write_text(str(lines()))

    def cut():
        kill_at_line(round(share * int(count.read_text())), files)
        main(["eval", *map(str, small), "--output_dir", str(killed)])

    assert forked(counted) == WHOLE
    assert forked(cut) == KILLED
    again = forked(lambda: sys.exit(main(["eval", *map(str, small), "--output_dir", str(killed)])))
    assert again == WHOLE, capfd.readouterr().err
    assert (killed / "completions.jsonl").read_bytes() == (whole / "completions.jsonl").read_bytes()
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (killed, whole))
    assert ours["benchmarks"] == theirs["benchmarks"]
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}


def test_settings_that_are_broken_are_refused_in_one_line(small, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    completions, settings = ((folder / name).read_text() for name in ("completions.jsonl", "settings.json"))
    other = {"benchmarks": {"sums": None}}
    for content, said in (
        ('{"mod', "settings.json is not JSON"),
        ("", "settings.json is not JSON"),
        ("null", "settings.json holds null instead of an object: choose another --output_dir"),
        ("[]", "settings.json holds [] instead of an object"),
        ("{}", "settings.json has no 'model'"),
        (json.dumps(json.loads(settings) | other), "other settings (benchmarks: {'sums': None})"),
    ):
        (folder / "settings.json").write_text(content)
        code, _, err = run(capsys, *small, "--output_dir", folder)
        assert code == 2
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert (folder / "completions.jsonl").read_text() == completions


@pytest.mark.parametrize("name", ["completions.jsonl", "settings.json", "results.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_by_its_name(small, tmp_path, capsys, name, make):
    make(tmp_path / name)
    code, _, err = run(capsys, *small, "--output_dir", tmp_path)
    assert code == 2
    assert f"{tmp_path / name} is no regular file: move it away" in err
    assert len(err.strip().splitlines()) == 1


def test_damaged_rows_are_made_again_and_foreign_ones_do_not_count(small, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    whole, before = rows(folder), (folder / "results.json").read_text()
    damaged = [
        {name: value for name, value in whole[0].items() if name != "correct"},
        {name: value for name, value in whole[1].items() if name != "benchmark"},
        whole[2] | {"correct": "false"},
        whole[3] | {"tokens": None},
    ]
    foreign = [whole[4] | {"id": "sum-99"}, whole[4] | {"sample": 3}, whole[4] | {"benchmark": "other"}]
    with (folder / "completions.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in [*damaged, *whole[4:], *foreign])
    code, out, err = run(capsys, *small, "--output_dir", folder)
    assert code == 0, err
    said = " ".join(out.split())
    assert said.count("completions.jsonl had 4 damaged rows, now dropped; what was asked is answered again.") == 1
    assert said.count("completions.jsonl has 3 rows of other problems or samples, which do not count.") == 1
    assert "26 answers are there, 4 are to come" in said
    assert (folder / "results.json").read_text() == before
    assert rows(folder) == [*whole[4:], *foreign, *whole[:4]]  # what is foreign is not ours to delete


def test_what_made_the_answers_is_recorded_and_stays(small, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    generate, calls = TransformersEngine.generate, []

    def interrupted(self, prompts, seeds):
        calls.append(len(prompts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(self, prompts, seeds)

    with monkeypatch.context() as patch:
        patch.setattr(TransformersEngine, "generate", interrupted)
        assert run(capsys, *small, "--output_dir", folder)[0] == 130
    monkeypatch.setattr("sfpo.evaluation.records.provenance", lambda: {"time": "later", "commit": "other"})
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    first, second = json.loads((folder / "results.json").read_text())["provenance"]
    assert {"torch", "transformers", "math-verify"} <= first["versions"].keys()
    assert second == {"time": "later", "commit": "other"}
    monkeypatch.setattr("sfpo.evaluation.records.provenance", lambda: {"commit": "shows only"})
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    assert json.loads((folder / "results.json").read_text())["provenance"] == [first, second]


def test_an_evaluation_from_before_records_said_what_made_them_is_continued(small, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    settings = json.loads((folder / "settings.json").read_text())
    del settings["provenance"]
    (folder / "settings.json").write_text(json.dumps(settings))
    lines = (folder / "completions.jsonl").read_text().splitlines(keepends=True)
    (folder / "completions.jsonl").write_text("".join(lines[:-2]))  # the last batch
    assert run(capsys, *small, "--output_dir", folder)[0] == 0
    assert (folder / "completions.jsonl").read_text() == "".join(lines)
    unknown, known = json.loads((folder / "results.json").read_text())["provenance"]
    assert unknown == {}
    assert known["versions"]["python"]


def test_a_finished_run_is_shown_again_and_not_made_again(small, tmp_path, capsys, monkeypatch):
    assert run(capsys, *small, "--output_dir", tmp_path / "run")[0] == 0
    before = (tmp_path / "run" / "completions.jsonl").read_bytes()
    monkeypatch.setattr(TransformersEngine, "generate", lambda *_: pytest.fail("it was all there"))
    code, out, _ = run(capsys, *small, "--output_dir", tmp_path / "run", "--batch_size", "7")
    assert code == 0
    assert "0 are to come" in " ".join(out.split())
    assert (tmp_path / "run" / "completions.jsonl").read_bytes() == before


def test_other_settings_are_refused(small, sums, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(capsys, *small, "--limit", "2", "--output_dir", folder)[0] == 0
    before = (folder / "completions.jsonl").read_bytes()
    for more, said in (
        (["--limit", "2", "--temperature", "0.6"], "temperature: 1.0"),
        (["--limit", "3"], "sums with 2 problems"),
        (["--limit", "2", "--seed", "1"], "seed: 0"),
    ):
        code, _, err = run(capsys, *small, *more, "--output_dir", folder)
        assert code == 2
        assert "other settings" in err
        assert said in err
        assert len(err.strip().splitlines()) == 1
    sums.write_text(sums.read_text().replace('"answer": "-1"', '"answer": "7"'))
    assert run(capsys, *small, "--limit", "2", "--output_dir", folder)[0] == 2
    assert (folder / "completions.jsonl").read_bytes() == before


def test_settings_may_change_before_the_first_answer(small, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TransformersEngine, "generate", interrupted)
        assert run(capsys, *small, "--output_dir", tmp_path / "run")[0] == 130
    code, _, err = run(capsys, *small, "--limit", "2", "--output_dir", tmp_path / "run")
    assert code == 0, err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["settings"]["benchmarks"]["sums"]["problems"] == 2


def test_the_records_of_a_training_run_are_left_alone(small, tmp_path, capsys):
    (tmp_path / "completions.jsonl").write_text('{"step": 1}\n')
    code, _, err = run(capsys, *small, "--output_dir", tmp_path)
    assert code == 2
    assert "holds completions.jsonl of another run" in err
    assert (tmp_path / "completions.jsonl").read_text() == '{"step": 1}\n'


def test_seeds_and_greedy(small, tmp_path, capsys):
    texts = {}
    for name, more in {
        "a": [], "b": ["--seed", "1"], "greedy": ["--greedy", "--samples", "1"], "greedy_again": ["--greedy", "--samples", "1", "--seed", "1"],
    }.items():  # fmt: skip
        code, _, err = run(capsys, *small, "--limit", "4", *more, "--output_dir", tmp_path / name)
        assert code == 0, err
        texts[name] = [row["completion"] for row in rows(tmp_path / name)]
    assert texts["a"] != texts["b"]
    assert len(texts["greedy"]) == 4
    assert texts["greedy"] == texts["greedy_again"]


def test_a_problem_too_long_for_the_model_is_wrong_and_said(tiny_model, tmp_path, capsys):
    path = tmp_path / "long.jsonl"
    problems = ["1+1=", "1+" * 40 + "1=", "1+2="]
    path.write_text("\n".join(json.dumps({"problem": problem, "answer": "2"}) for problem in problems))
    code, out, err = run(
        capsys, "--model", tiny_model, "--benchmarks", path, "--prompt_template", "plain", "--samples", "2",
        "--max_new_tokens", "4", "--output_dir", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    assert "2 answers are empty and count as wrong" in " ".join(out.split())
    lengths = {(row["id"], row["sample"]): row["tokens"] for row in rows(tmp_path / "run")}
    assert [key for key, tokens in lengths.items() if tokens == 0] == [("long-2", 0), ("long-2", 1)]


def test_slices_of_two_benchmarks_are_answered(tmp_path, capsys):
    code, out, err = run(
        capsys, "--benchmarks", "math500,gsm8k", "--data_path", BENCHMARKS, "--limit", "3", "--samples", "2",
        "--max_new_tokens", "6", "--output_dir", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["problems"] for row in results["benchmarks"]] == [3, 3]
    assert len(rows(tmp_path / "run")) == 12
    assert "math500 has 16 problems; published results are about 500" in " ".join(out.split())


@needs_data
def test_all_six_sets_and_gsm8k_are_answered(tmp_path, capsys):
    code, out, err = run(
        capsys, "--benchmarks", "math500,aime24,aime25,amc,minerva,olympiadbench", "gsm8k", "--data_path",
        FOLDER / "bench", "--limit", "2", "--samples", "2", "--max_new_tokens", "6", "--output_dir", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    assert "Warning" not in out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["problems"] for row in results["benchmarks"]] == [2] * 7
    assert results["mean_pass_at_1"] == pytest.approx(sum(row["pass@1"] for row in results["benchmarks"]) / 7)
    assert all("Please reason step by step" in row["prompt"] for row in rows(tmp_path / "run"))
    assert "mean" in out


def test_a_copy_of_another_size_is_pointed_out(tmp_path, capsys):
    (tmp_path / "aime24.jsonl").write_text('{"problem": "1+1=", "answer": "2"}\n')
    code, out, err = run(
        capsys, "--benchmarks", "aime24", "--data_path", tmp_path, "--samples", "1", "--max_new_tokens", "4",
        "--output_dir", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    assert "has 1 problems; published results are about 30" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmarks", "maths500"], "unknown benchmark 'maths500'"),
        (["--benchmarks", "math500"], "give a folder that holds math500.jsonl with --data_path"),
        (["--benchmarks", "amc", "--data_path", "{}"], "holds no amc.jsonl"),
        (["--benchmarks", "{}/missing.jsonl"], "there is no file"),
        (["--benchmarks", "{}/unanswered.jsonl"], "row 2 of"),
        (["--benchmarks", "{}/sums.jsonl", "--samples", "0"], "--samples must be at least 1, got 0"),
        (["--benchmarks", "{}/sums.jsonl", "--samples", "few"], "--samples"),
        (["--benchmarks", "{}/sums.jsonl", "--limit", "0"], "--limit must be at least 1"),
        (["--benchmarks", "{}/sums.jsonl", "--greedy", "--samples", "4"], "leave --samples out"),
        (["--benchmarks", "{}/sums.jsonl", "--temperature", "0"], "say --greedy"),
        (["--benchmarks", "{}/sums.jsonl", "--top_p", "1.5"], "--top_p must be in (0, 1]"),
        (["--benchmarks", "{}/sums.jsonl", "--prompt_template", "auto"], "choose among boxed, dapo, plain"),
        (["--benchmarks", "{}/sums.jsonl", "--engine", "fast"], "unknown engine 'fast'"),
        (["--benchmarks", "{}/sums.jsonl", "--model", "{}/nowhere"], "no model folder"),
        (["--no_such_flag", "1"], "--no_such_flag"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_clear_line(sums, tmp_path, capsys, arguments, message):
    (tmp_path / "unanswered.jsonl").write_text('{"problem": "1+1=", "answer": "2"}\n{"problem": "2+2=", "answer": ""}')
    arguments = [argument.replace("{}", str(tmp_path)) for argument in arguments]
    code, _, err = run(capsys, "--output_dir", tmp_path / "run", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
