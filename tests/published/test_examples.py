import subprocess
import sys

from repository import ROOT

EXAMPLES = ROOT / "examples"


def test_minimal_loop_runs_and_is_short():
    file = EXAMPLES / "minimal_loop.py"
    assert len(file.read_text().splitlines()) <= 200
    run = subprocess.run([sys.executable, file, "--steps", "3"], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["1", "2", "3"]
    assert all(line.endswith("passes 4") for line in lines)
