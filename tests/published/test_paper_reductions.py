"""What docs/guides/plan.md says of the paper's rollout and time reductions."""

import subprocess
import sys

from repository import ROOT


def test_the_table_of_the_docs_is_printed():
    script = ROOT / "benchmarks" / "paper_reductions.py"
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    for said in ("4.19×", "-45%", "-23%"):
        assert said in out
