"""Two gloo processes under DeepSpeed ZeRO with bf16 weights and fp32 masters, trained by TRL's own loop."""

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'sfpo[deepspeed]'")

STAGES = ["zero1", "zero2", "zero3"]
OFFLOADED = ["zero2_offloaded", "zero3_offloaded"]


@pytest.fixture(scope="module")
def both(launch):
    from worker import SCENARIOS

    return launch(*(name for name in SCENARIOS if name.startswith("zero")))


def test_ranks_end_bit_identical(both):
    for name, (first, second) in both.items():
        for copy in ("weights", "masters"):
            for weight in first[copy]:
                assert torch.equal(first[copy][weight], second[copy][weight]), (name, weight)


@pytest.mark.parametrize("name", [*STAGES, *OFFLOADED, "zero3_mini_batches", "zero3_lora"])
def test_masters_and_the_forwards_weights_are_both_repositioned(both, name):
    result = both[name][0]
    for stage in result["stages"]:
        moved = 0.0
        for weight, start in stage["start"].items():
            expected = start + 0.8 * (stage["end"][weight] - start)
            torch.testing.assert_close(stage["repositioned"][weight], expected, rtol=1e-6, atol=1e-7)
            # What the slow pass's forward multiplies with, gathered from all processes.
            assert torch.equal(stage["forward"][weight], stage["repositioned"][weight].bfloat16()), weight
            moved = max(moved, (stage["end"][weight] - stage["repositioned"][weight]).abs().max().item())
        assert moved > 1e-3  # far more than what bf16 rounds away


@pytest.mark.parametrize("stage", STAGES)
def test_equals_a_plain_run_within_bf16(both, train_alone, stage):
    result, plain = both[stage][0], train_alone(stage)
    # Each step starts from where the slow one of the step before has ended.
    for step in range(len(plain["stages"])):
        ours, theirs = result["stages"][step], plain["stages"][step]
        for point in ("start", "end", "repositioned"):
            assert_near(ours[point], theirs[point], plain["stages"][0]["start"])
    assert_near(result["masters"], plain["masters"], plain["stages"][0]["start"])
    for key, tolerance in (("grad_norm", 0.05), ("sfpo/drift", 0.05), ("sfpo/pass_2/grad_norm", 0.05)):
        assert history(result, key) == pytest.approx(history(plain, key), rel=tolerance)


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_a_closed_gate_is_grpo_bit_for_bit(both, stage):
    ours, theirs = both[f"{stage}_closed"][0], both[f"{stage}_grpo"][0]
    for name, weight in theirs["masters"].items():
        assert torch.equal(ours["masters"][name], weight), name
    for key in ("loss", "grad_norm", "learning_rate"):
        assert history(ours, key) == history(theirs, key)


def test_alpha_one_is_multi_epoch_grpo(both):
    ours, theirs = both["zero2_alpha_one"][0], both["zero2_epochs"][0]
    assert ours["rates"] == theirs["rates"]
    for name, weight in theirs["masters"].items():
        torch.testing.assert_close(ours["masters"][name], weight, rtol=1e-4, atol=2e-5)


def test_steps_and_schedule(both):
    """K + 1 optimizer steps a mini-batch, one of the schedule, whoever keeps the schedule."""
    for name in STAGES:
        assert both[name][0]["rates"] == pytest.approx([0.1] * 4 + [0.05] * 4)
    assert both["zero3_mini_batches"][0]["rates"] == pytest.approx([1e-2] * 7 + [0.5e-2])
    own = both["zero1_own_schedule"][0]["rates"]
    assert len(own) == 8
    assert len(set(own[:4])) == len(set(own[4:])) == 1
    assert own[0] != own[4]


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_checkpoint_holds_the_weights_and_training_resumes_from_it(both, stage):
    whole, resumed = both[f"{stage}_saved"][0], both[f"{stage}_resumed"][0]
    # The checkpoint of step 2, against what step 3 starts from.
    saved = load_file(whole["folder"] / "checkpoint-2" / "model.safetensors")
    start = whole["stages"][2]["start"]
    assert saved.keys() <= start.keys()
    for name, weight in saved.items():
        assert torch.equal(weight, start[name].bfloat16()), name
    for name, weight in whole["masters"].items():
        assert torch.equal(resumed["masters"][name], weight), name
    assert resumed["rates"] == whole["rates"][8:]
    assert len(resumed["stages"]) == 1


def test_lora_copies_and_moves_only_the_adapters(both):
    result = both["zero3_lora"][0]
    assert result["masters"]
    assert all("lora_" in name for name in result["masters"])
    adapters = sum(weight.nbytes for weight in result["masters"].values())
    assert history(result, "sfpo/snapshot_bytes")[0] == pytest.approx(adapters / 2, rel=0.1)


@pytest.mark.parametrize("stage", STAGES)
def test_one_copy_of_the_local_masters_is_held(both, stage):
    result = both[stage][0]
    masters = sum(weight.nbytes for weight in result["masters"].values())
    assert history(result, "sfpo/snapshot_bytes")[0] == pytest.approx(masters / 2, rel=0.02)


def assert_near(ours, theirs, start):
    """Within a share of the way from the start: what bf16's 8 bits leave of a gradient."""
    gap = torch.cat([(ours[name].float() - theirs[name].float()).flatten() for name in start]).norm()
    way = torch.cat([(theirs[name].float() - start[name].float()).flatten() for name in start]).norm()
    rounding = torch.cat([(start[name].bfloat16().float() - start[name].float()).flatten() for name in start]).norm()
    assert gap <= 0.05 * way + 1.1 * rounding


def history(result, key):
    return [row[key] for row in result["log"] if key in row]
