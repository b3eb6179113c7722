"""The worker's update against verl's own passes with the reposition by hand, on one and two gloo processes (FSDP2)."""

import pytest
import torch
from torch import nn
from worker_runs import INNER_STEPS, MINI_BATCHES, run_all

from sfpo.errors import UsageError
from sfpo.verl.worker import refuse_dropout

SAME_AS_BY_HAND = ["fp32", "bf16", "bf16_packed", "dr_grpo", "lora", "hybrid_sharding"]


@pytest.fixture(scope="module", params=[1, 2], ids=["1-rank", "2-ranks"])
def ranks(request, tiny_model, tmp_path_factory):
    """The results of each rank."""
    folder = tmp_path_factory.mktemp("worker")
    torch.multiprocessing.spawn(run_all, args=(request.param, tiny_model, str(folder)), nprocs=request.param)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(request.param)]


def assert_same(ours, theirs):
    """Weights, Adam's moments and step counts, and the schedule, to the last bit."""
    for name, weight in theirs["weights"].items():
        assert torch.equal(ours["weights"][name], weight), name
    for our_state, their_state in zip(ours["optimizer"], theirs["optimizer"], strict=True):
        for name, value in their_state.items():
            assert torch.equal(our_state[name], value), name
    assert ours["schedule"] == theirs["schedule"]


@pytest.mark.parametrize("case", SAME_AS_BY_HAND)
def test_equals_the_step_by_hand(ranks, case):
    for result in ranks:
        found = result[case]
        assert any(not torch.equal(found["start"][name], found["sfpo"]["weights"][name]) for name in found["start"])
        assert_same(found["sfpo"], found["by_hand"])
        metrics = found["sfpo"]["metrics"]
        assert metrics["sfpo/drift"] == pytest.approx(found["by_hand"]["drift"], rel=1e-5)
        assert metrics["sfpo/drift"] > 1e-3


def test_ranks_agree(ranks):
    first = ranks[0]["fp32"]["sfpo"]
    for result in ranks[1:]:
        other = result["fp32"]["sfpo"]
        assert_same(first, other)
        assert other["metrics"]["sfpo/drift"] == first["metrics"]["sfpo/drift"]


def test_counts_optimizer_and_schedule_steps(ranks):
    steps, found = 2, ranks[0]["fp32"]["sfpo"]
    assert {int(state["step"]) for state in found["optimizer"]} == {steps * (INNER_STEPS + 1) * MINI_BATCHES}
    assert found["schedule"] == steps
    assert found["metrics"]["sfpo/optimizer_steps_per_rollout_batch"] == (INNER_STEPS + 1) * MINI_BATCHES


def test_slow_pass_sees_the_repositioned_weights(ranks):
    """Not a copy that the engine gathered before: its log-probabilities are those of transformers at θ̃."""
    for result in ranks:
        found = result["fp32"]
        for ours, theirs in zip(found["seen_by_slow_pass"], found["scored_without_verl"], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_alpha_zero_is_verls_own_update(ranks):
    for result in ranks:
        ours, verls = result["plain"]["sfpo"], result["plain"]["verl"]
        assert_same(ours, verls)
        for name, value in verls["metrics"].items():
            if not name.startswith(("perf/", "mfu")):
                assert ours["metrics"][name] == value, name
        assert ours["metrics"]["sfpo/drift"] == 0


def test_host_metrics_are_those_of_pass_0(ranks):
    metrics = ranks[0]["fp32"]["sfpo"]["metrics"]
    assert metrics["grad_norm"] == metrics["sfpo/pass_0/grad_norm"]
    # The first mini-batch of pass 0 is at θ_0; later passes have left it.
    assert metrics["actor/ppo_kl"][0] == pytest.approx(0, abs=1e-6)
    assert abs(metrics[f"sfpo/pass_{INNER_STEPS}/ppo_kl"][0]) > 1e-3
    assert len(metrics["lr"]) == 1


def test_lora_moves_only_adapters(ranks):
    found = ranks[0]["lora"]
    moved = {
        name for name, weight in found["start"].items() if not torch.equal(weight, found["sfpo"]["weights"][name])
    }
    assert moved == {name for name in found["start"] if "lora_" in name}
    size = sum(weight.nbytes for name, weight in found["start"].items() if name in moved)
    assert found["sfpo"]["metrics"]["sfpo/snapshot_bytes"] <= size


def test_offloading_changes_nothing(ranks):
    for result in ranks:
        resident, offloaded = result["offloaded"]
        assert_same(offloaded, resident)
        # To the device before the first pass, back after the last.
        assert offloaded["moves"] == 2 * [{"model": True, "optimizer": True, "grad": True}]


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_dropout_is_refused(rate):
    attention = nn.Linear(1, 1)
    attention.attention_dropout = rate
    for part in (nn.Dropout(rate), attention):
        module = nn.ModuleDict({"layer": part})
        if rate:
            with pytest.raises(UsageError, match=r"layer has dropout 0\.1"):
                refuse_dropout(module)
        else:
            refuse_dropout(module)
