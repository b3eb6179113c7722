"""Slices of data sets that are part of this repository, and their problems in the schemas in which the hub has other sets."""

import json
from pathlib import Path

from repository import ROOT

from sfpo.tasks.templates import as_prompt

SLICES = ROOT / "tests" / "data"
BENCHMARKS = SLICES / "bench"


def write_training_sets(folder: Path) -> dict[str, str]:
    """Write a file for each part of the paper's two training sets, and give each set's `--data_path`."""
    problems = [json.loads(line) for line in (SLICES / "train" / "math_train.jsonl").read_text().splitlines()]
    half = len(problems) // 2
    dapo, maths, skywork = (folder / f"{name}.jsonl" for name in ("dapo", "math", "skywork"))
    _write(dapo, map(_as_dapo, problems[:half]))
    _write(maths, problems[half:])
    _write(skywork, map(_as_skywork, range(len(problems)), problems))
    return {"dapo+math": f"{dapo},{maths}", "skywork-or1": str(skywork)}


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _as_dapo(row):
    return {
        "data_source": "math_dapo",
        "prompt": [{"role": "user", "content": as_prompt(row["problem"], "dapo")}],
        "ability": "MATH",
        "reward_model": {"ground_truth": row["answer"], "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": row["id"]},
    }


def _as_skywork(index, row):
    return {
        "data_source": "train-math",
        "prompt": [{"role": "user", "content": row["problem"]}],
        "ability": "math",
        "reward_model": {"ground_truth": json.dumps([row["answer"]]), "style": "rule"},
        "extra_info": {"index": index, "model_difficulty": {"DeepSeek-R1-Distill-Qwen-7B": index % 17}},
    }
