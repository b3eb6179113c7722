"""The figures in the docs are those of the raw records, and every record has a row that says what made it."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from repository import ROOT


def recompute(script, *arguments):
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)


def test_summaries_and_tables_follow_from_the_raw_records():
    checked = recompute(ROOT / "benchmarks" / "recompute_results.py", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_changed_record_is_noticed(tmp_path):
    for name in ("benchmarks", "results", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("runs", "*.jsonl"))
    shutil.copy(ROOT / "README.md", tmp_path)
    records = next(tmp_path.glob("results/*/evaluations.csv"), None)
    if records is None:
        pytest.skip("no comparison is recorded")
    lines = records.read_text().splitlines(keepends=True)
    last = lines[-1].split(",")
    last[5] = "0.123"
    records.write_text("".join([*lines[:-1], ",".join(last)]))
    checked = recompute(tmp_path / "benchmarks" / "recompute_results.py", "--check")
    assert checked.returncode == 1
    assert f"differs: results/{records.parent.name}/summary.json" in checked.stdout


def test_every_record_has_a_row_and_every_row_a_record():
    results = ROOT / "results"
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (results / "README.md").read_text().splitlines()
        if line.startswith("| [")
    ]
    assert all(len(row) == 5 and all(row) for row in rows)
    named = [re.fullmatch(r"\[([\w.-]+)\]\(\1/?\)", row[0])[1] for row in rows]
    assert sorted(named) == sorted(path.name for path in results.iterdir() if path.name != "README.md")
    for _, question, command, commits, _ in rows:
        assert re.fullmatch(r"[0-9a-f]{7}\b.*", commits)
        assert "?" in question
        assert command.startswith("`") or "its page" in command


def test_rows_of_comparisons_have_the_methods_and_seeds_that_were_run():
    rows = (ROOT / "results" / "README.md").read_text().splitlines()
    for path in (ROOT / "results").glob("*/comparison.json"):
        (row,) = (line for line in rows if line.startswith(f"| [{path.parent.name}]"))
        specification = json.loads(path.read_text())
        commands = dict(re.findall(r"--(methods|seeds) (\S+)", row))
        assert {entry.split(":")[0] for entry in commands["methods"].split(",")} == set(specification["methods"])
        seeds = [int(seed) for seed in commands["seeds"].split(",")]
        assert (list(range(seeds[0])) if len(seeds) == 1 else sorted({*seeds})) == specification["seeds"]
