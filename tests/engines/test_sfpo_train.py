"""`sfpo train` itself on two processes."""

import json
import os
import subprocess
import sys

import pytest
import torch.distributed as dist

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed"),
]


def test_two_processes_keep_one_record_and_one_display(tmp_path):
    folder = tmp_path / "run"
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "sfpo.cli",
            "train", "--max_steps", "2", "--per_device_train_batch_size", "16", "--train_problems", "100",
            "--eval_problems", "16", "--output_dir", str(folder),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("16 held-out problems, sampled once each") == 1
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps if row["kind"] == "train"] == [1, 2]
    assert [row["sfpo/rollouts"] for row in steps if row["kind"] == "train"] == [32, 64]
    assert (folder / "model.safetensors").is_file()
