"""Two gloo processes under DeepSpeed ZeRO with bf16 weights and fp32 masters, trained by TRL's own loop."""

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'sfpo[deepspeed]'")

pytestmark = pytest.mark.distributed

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
        differs = False
        for weight, start in stage["start"].items():
            expected = start + 0.8 * (stage["end"][weight] - start)
            torch.testing.assert_close(stage["repositioned"][weight], expected, rtol=1e-6, atol=1e-7)
            # What the slow pass's forward multiplies with, gathered from all processes.
            assert torch.equal(stage["forward"][weight], stage["repositioned"][weight].bfloat16()), weight
            differs |= not torch.equal(stage["forward"][weight], stage["end"][weight].bfloat16())
        assert differs


@pytest.mark.parametrize("name", ["zero2_interrupted", "zero3_interrupted"])
def test_an_error_inside_a_trajectory_puts_the_masters_back(both, name):
    for result in both[name]:
        (stage,) = result["stages"]
        for weight, start in stage["start"].items():
            assert torch.equal(result["masters"][weight], start), weight
        passes = [
            weight
            for weight, start in stage["start"].items()
            if not torch.equal(result["weights"][weight], start.bfloat16())
        ]
        assert passes, "the forward's weights have not moved: no pass was made"


@pytest.mark.parametrize("stage", STAGES)
def test_equals_one_plain_process(both, train_alone, stage):
    """Equal to float precision in fp32, so that bf16 differs only by its rounding."""
    result, plain = both[f"{stage}_fp32"][0], train_alone(f"{stage}_fp32")
    for name, weight in plain["weights"].items():
        torch.testing.assert_close(result["masters"][name], weight, rtol=1e-4, atol=2e-6)
    for key in ("loss", "grad_norm", "sfpo/drift", "sfpo/entropy", "sfpo/pass_3/kl", "sfpo/pass_3/grad_norm"):
        assert history(result, key) == pytest.approx(history(plain, key), rel=1e-3, abs=1e-6)
    assert_near(both[stage][0], train_alone(stage))


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_completions_without_a_gradient_are_left_out(both, train_alone, stage):
    compact, plain = both[f"{stage}_compact"], train_alone("ddp_some_idle")
    for name, weight in plain["weights"].items():
        torch.testing.assert_close(compact[0]["masters"][name], weight, rtol=1e-4, atol=2e-6)
    assert compact[0]["rows_scored"] != compact[1]["rows_scored"]
    assert min(compact[0]["rows_scored"] + compact[1]["rows_scored"]) == 1


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("scenario", ["auto", "auto_outside"])
def test_a_kl_budget_leads_to_the_alpha_of_one_process(both, train_alone, stage, scenario):
    first, second = both[f"{stage}_{scenario}"]
    plain = train_alone(f"ddp_{scenario}")
    for key in ("sfpo/alpha", "sfpo/kl_budget", "sfpo/passes"):
        assert history(first, key) == history(second, key), key
        assert history(first, key) == pytest.approx(history(plain, key), rel=1e-3), key
    # Where one pass left the region, the trainer's own step changes nothing, and the rate of the next is the schedule's.
    assert history(first, "learning_rate") == history(plain, "learning_rate")
    for name, weight in plain["weights"].items():
        torch.testing.assert_close(first["masters"][name], weight, rtol=1e-4, atol=2e-6)
        assert torch.equal(first["weights"][name].float(), first["masters"][name].float()), name


def test_bf16_leads_sfpo_no_further_astray_than_multi_epoch_grpo(both, train_alone, tiny_model):
    """A ratio that rounding moves across its bound switches a token's gradient off or on, SFPO or not."""
    origin = load_file(f"{tiny_model}/model.safetensors")

    def way(weights, start):
        return torch.cat([(weights[name].float() - start[name].float()).flatten() for name in sorted(start)])

    share = {}
    for loss in ("clipped", "unclipped"):
        for method in ("once", "epochs", "sfpo"):
            name = f"zero2_{method}_{loss}"
            ours = way(both[name][0]["masters"], {n: weight.bfloat16() for n, weight in origin.items()})
            theirs = way(train_alone(name)["weights"], origin)
            share[method, loss] = ((ours - theirs).norm() / theirs.norm()).item()
            print(f"{method:6} {loss:9} |difference from fp32| / |way from the start| = {share[method, loss]:.3f}")
    assert all(share[method, "unclipped"] < 0.06 for method in ("once", "epochs", "sfpo"))
    assert share["once", "clipped"] == share["once", "unclipped"]  # every ratio is 1
    assert share["sfpo", "clipped"] < 1.5 * share["epochs", "clipped"]


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_a_closed_gate_is_grpo_bit_for_bit(both, stage):
    ours, theirs = both[f"{stage}_closed"][0], both[f"{stage}_grpo"][0]
    for name, weight in theirs["masters"].items():
        assert torch.equal(ours["masters"][name], weight), name
    for key in ("loss", "grad_norm", "learning_rate"):
        assert history(ours, key) == pytest.approx(history(theirs, key), rel=1e-12)


def test_alpha_one_is_multi_epoch_grpo(both):
    ours, theirs = both["zero2_alpha_one"][0], both["zero2_epochs"][0]
    assert ours["rates"] == theirs["rates"]
    for name, weight in theirs["masters"].items():
        torch.testing.assert_close(ours["masters"][name], weight, rtol=1e-4, atol=2e-5)


def test_steps_and_schedule(both):
    """K + 1 optimizer steps per mini-batch and one step of the schedule, whoever keeps the schedule."""
    for name in STAGES:
        assert both[name][0]["rates"] == pytest.approx([0.03] * 4 + [0.015] * 4)
    assert both["zero3_mini_batches"][0]["rates"] == pytest.approx([1e-2] * 7 + [0.5e-2])
    # DeepSpeed's own WarmupLR stays at its lowest for two steps; log(2) / log(4) is half of the way.
    assert both["zero1_own_schedule"][0]["rates"] == pytest.approx([1e-3] * 8 + [5.5e-3] * 4)


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


def test_vllm_gets_whole_weights_once_a_batch_of_rollouts(both):
    result = both["zero3_vllm"][0]
    assert len(result["synced"]) == len(result["stages"]) == 2
    for synced, stage in zip(result["synced"], result["stages"], strict=True):
        for name, weight in synced.items():
            assert torch.equal(weight, stage["start"][name].bfloat16()), name


@pytest.mark.parametrize("stage", STAGES)
def test_one_copy_of_the_local_masters_is_held(both, stage):
    result = both[stage][0]
    masters = sum(weight.nbytes for weight in result["masters"].values())
    assert history(result, "sfpo/snapshot_bytes")[0] == pytest.approx(masters / 2, rel=0.02)


def assert_near(ours, theirs):
    """The same displacement from θ_0 at every stage of every step, except for the effect of bf16 on gradients."""

    def way(result, step, stage):
        origin, point = result["stages"][0]["start"], result["stages"][step][stage]
        return torch.cat([(point[name] - origin[name]).flatten() for name in sorted(origin)])

    for step in range(len(theirs["stages"])):
        for stage in ("start", "end", "repositioned"):
            expected = way(theirs, step, stage)
            assert (way(ours, step, stage) - expected).norm() <= 0.06 * expected.norm(), (step, stage)


def history(result, key):
    return [row[key] for row in result["log"] if key in row]
