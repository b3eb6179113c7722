"""Two processes, of which one is killed while they write a checkpoint together."""

import json

import pytest
import torch
import torch.distributed as dist

from sfpo.checkpoints import checkpoints_in, missing_part

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed"),
]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_left_is_complete_and_continues_bit_for_bit(launch, tmp_path, rank):
    launch(f"killed_{rank}", folder=tmp_path, killed=True)
    left = checkpoints_in(tmp_path / f"killed_{rank}")
    assert [(one.name, missing_part(one)) for one in left] == [("checkpoint-1", None)]
    parts = json.loads((left[0] / "sfpo_state.json").read_text())["parts"]
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt", "scheduler.pt", "model.safetensors"} <= parts.keys()
    ended = launch("saved", f"continued_{rank}", folder=tmp_path)
    for whole, continued in zip(ended["saved"], ended[f"continued_{rank}"], strict=True):
        for name, weight in whole["weights"].items():
            assert torch.equal(continued["weights"][name], weight), name
    assert [one.name for one in checkpoints_in(tmp_path / f"killed_{rank}")] == ["checkpoint-3"]
    assert not (tmp_path / f"killed_{rank}" / "_unfinished").exists()
