"""Write training sets in verl's schema: python recipes/verl/prepare_data.py dapo+math [LOCAL_FILES [BENCHMARK_FOLDER]].

Writes data/verl/NAME.parquet and data/verl/NAME-held-out.parquet, cleaned and split as `sfpo train --task NAME` does.
"""

import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

from sfpo.errors import UsageError
from sfpo.tasks import load_task

FOLDER = Path("data/verl")


def in_verl_schema(rows: Dataset, name: str) -> Dataset:
    def convert(row: dict[str, Any], index: int) -> dict[str, object]:
        prompt = row["prompt"]
        return {
            "data_source": name,
            "prompt": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
            "reward_model": {"style": "rule", "ground_truth": row["answer"]},
            "extra_info": {"index": index},
        }

    return rows.map(convert, with_indices=True, remove_columns=rows.column_names)


def main(name: str, data_path: str | None = None, benchmark_data_path: str | None = None) -> None:
    task = load_task(name, data_path=data_path, benchmark_data_path=benchmark_data_path)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for part, rows in (("", task.train), ("-held-out", task.held_out)):
        in_verl_schema(rows, name).to_parquet(FOLDER / f"{name}{part}.parquet")
        print(f"{len(rows):,} problems in {FOLDER / f'{name}{part}.parquet'}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UsageError as error:
        sys.exit(f"prepare_data.py: {error}")
