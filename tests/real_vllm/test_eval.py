"""`sfpo eval --engine vllm` as a user types it, without any setting of vLLM."""

import json

import pytest

from sfpo.cli import main


@pytest.fixture
def sums(tmp_path):
    path = tmp_path / "sums.jsonl"
    problems = [{"id": f"sum-{n}", "problem": f"{n}+{n % 7}-3=", "answer": str(n + n % 7 - 3)} for n in range(1, 41)]
    path.write_text("\n".join(map(json.dumps, problems)))
    return path


def run(capsys, sums, folder, engine, *more):
    arguments = ["--benchmarks", sums, "--prompt_template", "plain", "--max_new_tokens", "12", "--output_dir", folder]
    code = main(["eval", *map(str, arguments), "--engine", engine, *more])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def completions(folder):
    rows = [json.loads(line) for line in (folder / "completions.jsonl").read_text().splitlines()]
    return {(row["id"], row["sample"]): (row["completion"], row["tokens"], row["cut_off"]) for row in rows}


def test_greedy_answers_equal_those_of_transformers(sums, tmp_path, capsys):
    for engine in ("vllm", "transformers"):
        code, said = run(capsys, sums, tmp_path / engine, engine, "--greedy")
        assert code == 0, said
    ours, theirs = completions(tmp_path / "vllm"), completions(tmp_path / "transformers")
    assert len(ours) == 40
    assert ours == theirs
    settings = json.loads((tmp_path / "vllm" / "results.json").read_text())["settings"]
    assert settings["engine"] == "vllm"


def test_an_engine_that_has_no_room_says_so_in_one_line(sums, tmp_path, capsys):
    code, said = run(capsys, sums, tmp_path / "run", "vllm", "--vllm_gpu_memory_utilization", "0.001")
    assert code == 2
    assert len(said.strip().splitlines()[-1:]) == 1
    assert "vLLM does not start" in said
    assert "--vllm_gpu_memory_utilization" in said
