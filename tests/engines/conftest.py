import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).parent / "worker.py"
HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture(scope="session")
def launch(tiny_model, tmp_path_factory):
    """Train scenarios of `worker.py` on two processes: name → what the two saved; nothing for those that are killed."""

    def train(*scenarios, folder=None, killed=False):
        folder = folder or tmp_path_factory.mktemp("ranks")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command += [str(WORKER), tiny_model, str(folder), *scenarios]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=600)
        assert (done.returncode != 0) == killed, done.stdout[-3000:] + done.stderr[-6000:]
        if killed:
            assert "Signal 9 (SIGKILL)" in done.stderr
            return {}
        return {
            name: [torch.load(folder / f"{name}.{rank}.pt", weights_only=False) for rank in range(2)]
            for name in scenarios
        }

    return train


@pytest.fixture(scope="session")
def train_alone(tiny_model, tmp_path_factory):
    """Train one scenario of `worker.py` in this process alone, on the whole batch."""
    import worker

    return lambda scenario: worker.run(
        tiny_model, tmp_path_factory.mktemp("alone"), **(worker.SCENARIOS[scenario] | {"engine": "one process"})
    )
