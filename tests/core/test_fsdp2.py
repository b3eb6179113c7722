"""The core and GXPO on sharded weights: two gloo processes against one."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from sfpo import SlowFast
from sfpo.gxpo import GXPO

STEPS, ALPHAS = 6, (0.8, 0.8, 0.0, 1.0, 0.3, 0.8)


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))


def train(model, rows, method):
    """Loss over `rows` of every batch; the gradient is averaged over processes where there are several."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    if method == "sfpo":
        slow_fast = SlowFast(model.parameters(), inner_steps=3, alpha=0.8, snapshot_device="cpu")
    else:
        slow_fast = GXPO(optimizer, moments=method, snapshot_device="cpu")
    generator = torch.Generator().manual_seed(1)
    reports = []
    for step in range(STEPS):
        inputs, targets = torch.randn(8, 6, generator=generator), torch.randn(8, 3, generator=generator)

        def update(inputs=inputs, targets=targets):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()

        if isinstance(slow_fast, GXPO):
            with slow_fast.trajectory(update):
                update()
        else:
            slow_fast.step(update, ALPHAS[step])
        reports.append(slow_fast.report)
    return reports


def sharded(rank, folder, shape, method):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")[-len(shape) :])
    model = make_model()
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    reports = train(model, slice(rank * 4, rank * 4 + 4), method)
    whole = [parameter.full_tensor().detach() for parameter in model.parameters()]
    torch.save((reports, whole), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("shape", "method"), [((2,), "sfpo"), ((2, 1), "sfpo"), ((2,), "restored"), ((2, 1), "running")]
)
def test_sharded_equals_whole(tmp_path, shape, method):
    torch.multiprocessing.spawn(sharded, args=(str(tmp_path), shape, method), nprocs=2)
    model = make_model()
    reports = train(model, slice(0, 8), method)
    for rank in range(2):
        their_reports, weights = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        for ours, theirs in zip(model.parameters(), weights, strict=True):
            torch.testing.assert_close(theirs, ours.detach(), rtol=1e-5, atol=1e-6)
        for report, their_report in zip(reports, their_reports, strict=True):
            assert their_report.distance == pytest.approx(report.distance, rel=1e-4)
            assert their_report.start_norm == pytest.approx(report.start_norm, rel=1e-4)
            if method != "sfpo":
                assert their_report.extrapolation == pytest.approx(report.extrapolation, rel=1e-3)
            share = 0.7 if shape[-1] == 2 else 1.0  # a shard, not the whole
            assert their_report.bytes_held <= share * report.bytes_held
