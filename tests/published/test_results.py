"""The figures in the docs are those of the raw records."""

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
