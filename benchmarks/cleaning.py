"""What cleaning leaves out of a training set, as `sfpo train` does it: writes results/cleaning/NAME.json.

    python benchmarks/cleaning.py dapo-math-17k FILE BENCHMARK_FOLDER --name dapo-math-17k

The same command at another version of the package shows what changed in between.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from sfpo.tasks import load_task

FOLDER = Path(__file__).resolve().parents[1] / "results" / "cleaning"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="as --task names it")
    parser.add_argument("data_path", help="its local copy")
    parser.add_argument("benchmarks", help="folder with local copies of the benchmarks")
    parser.add_argument("--name", required=True, help="of the record")
    options = parser.parse_args()
    task = load_task(
        options.task, data_path=options.data_path, benchmark_data_path=options.benchmarks, eval_problems=1_000_000
    )
    record = {
        "task": options.task,
        "file": Path(options.data_path).name,
        "sha256": hashlib.sha256(Path(options.data_path).read_bytes()).hexdigest(),
        "kept": len(task.train) + len(task.held_out),
        "note": task.note,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{options.name}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(task.note)


if __name__ == "__main__":
    main()
