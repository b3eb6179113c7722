"""DeepSpeed ZeRO in bf16 on two gloo processes: which weights move, and that the forward follows them."""

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("deepspeed", reason="needs deepspeed: make test-engines")

STAGES = (1, 2, 3)
INNER_STEPS, ALPHA = 3, 0.8


@pytest.fixture(scope="module")
def zero(launch):
    names = [f"zero{stage}{part}" for stage in STAGES for part in ("", "_resumed", "_closed", "_grpo")]
    return launch(2, *names, DS_ACCELERATOR="cpu")


@pytest.fixture(scope="module")
def plain(launch):
    return launch(1, "plain_sgd", "plain_sgd_closed")


@pytest.mark.parametrize("stage", STAGES)
def test_masters_are_repositioned_and_stepped_from(zero, stage):
    for run in zero[f"zero{stage}"]:
        passes = INNER_STEPS + 1
        # ZeRO-3 keeps several groups of weights, each stepped by itself.
        groups = len(run["before"]) // (3 * passes)
        assert len(run["before"]) == 3 * passes * groups
        for first in range(0, len(run["before"]), passes * groups):
            for group in range(groups):
                start = run["before"][first + group]
                end = run["after"][first + (INNER_STEPS - 1) * groups + group]
                slow = run["before"][first + INNER_STEPS * groups + group]
                for origin, far, moved in zip(start, end, slow, strict=True):
                    assert origin.dtype == torch.float32
                    assert not torch.equal(origin, far)
                    assert torch.equal(moved, far.lerp(origin, 1 - ALPHA))


@pytest.mark.parametrize("stage", STAGES)
def test_forward_follows_the_masters(zero, stage):
    """At every gradient that a trajectory takes, the slow correction's among them."""
    for run in zero[f"zero{stage}"]:
        assert run["forward_off_masters"] == [0.0] * (3 * INNER_STEPS)


@pytest.mark.parametrize("stage", STAGES)
def test_processes_end_alike_with_the_learning_rate_held_through_a_trajectory(zero, stage):
    first, second = zero[f"zero{stage}"]
    for name, weight in first["weights"].items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, second["weights"][name]), name
    rates = first["rates"]
    each = len(rates) // 3
    assert rates == [rates[0]] * each + [rates[each]] * each + [rates[-1]] * each
    assert rates[0] > rates[each] > rates[-1]


@pytest.mark.parametrize("stage", STAGES)
def test_equals_a_plain_run_within_bf16(zero, plain, tiny_model, stage):
    start = load_file(f"{tiny_model}/model.safetensors")

    def path(weights, start):
        return torch.cat([(weights[name] - start[name]).flatten() for name in sorted(start)])

    rounded = {name: weight.bfloat16().float() for name, weight in start.items()}
    ours = path(zero[f"zero{stage}"][0]["masters"], rounded)
    theirs = path(plain["plain_sgd"][0]["weights"], start)
    grpo = path(plain["plain_sgd_closed"][0]["weights"], start)
    assert (ours - theirs).norm() < 0.1 * theirs.norm()
    assert (ours - theirs).norm() < 0.2 * (grpo - theirs).norm()


@pytest.mark.parametrize("stage", STAGES)
def test_closed_gate_is_grpo_bit_for_bit(zero, stage):
    closed, grpo = zero[f"zero{stage}_closed"][0], zero[f"zero{stage}_grpo"][0]
    for part in ("weights", "masters"):
        for name, weight in closed[part].items():
            assert torch.equal(weight, grpo[part][name]), name
    for key in ("loss", "grad_norm", "learning_rate"):
        assert [row.get(key) for row in closed["log"]] == [row.get(key) for row in grpo["log"]]


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoint_holds_the_corrected_weights_and_resumes(zero, stage):
    whole, resumed = zero[f"zero{stage}"][0], zero[f"zero{stage}_resumed"][0]
    saved = load_file(zero["folder"] / f"zero{stage}" / "checkpoint-3" / "model.safetensors")
    for name, weight in whole["weights"].items():
        assert torch.equal(saved[name], weight), name
        assert torch.equal(resumed["masters"][name], whole["masters"][name]), name
