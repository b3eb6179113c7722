import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def launch(tiny_model, tmp_path_factory):
    """Runs scenarios of `worker.py` in as many processes; returns for each scenario what every process saved."""

    def run(processes, *scenarios, **environment):
        folder = tmp_path_factory.mktemp("engines")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command = command if processes > 1 else [sys.executable]
        worker = str(Path(__file__).with_name("worker.py"))
        run = subprocess.run(
            [*command, worker, tiny_model, str(folder), *scenarios],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr[-8000:]
        return {
            name: [torch.load(folder / f"{name}.{rank}.pt") for rank in range(processes)] for name in scenarios
        } | {"folder": folder}

    return run
