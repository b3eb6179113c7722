"""α from a KL budget in TRL's trainer, and its control: multi-epoch GRPO that stops on KL."""

import math
from unittest import mock

import pytest
import torch
from datasets import Dataset
from tiny_runs import LIKE_TRL, PROMPTS, SETTINGS, assert_same, history, reward_low_digits, train, weights
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.step_log import StepLog
from sfpo.trust_region import TrustRegion

AUTO = {"alpha": "auto", "gate": "off"}
SGD = {"optim": "sgd"}


def test_alpha_follows_from_what_the_passes_logged(tiny_model, tmp_path):
    # In one micro-batch, where the passes log the KL of just the completions that have an advantage.
    whole = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **AUTO, **whole, learning_rate=1e-4)
    rows = [row for row in trainer.state.log_history if row.get("sfpo/active_share", 0) > 0]
    assert rows
    for row in rows:
        region = TrustRegion().for_batch(row["sfpo/active_share"])
        assert row["sfpo/kl_budget"] == region.kl_budget
        passes = [row[f"sfpo/pass_{k}/kl"] for k in range(3)]
        assert row["sfpo/line_search_steps"] == 0
        assert row["sfpo/alpha"] == pytest.approx(region.alpha(passes))
        assert row["sfpo/kl_predicted"] == pytest.approx(region.predicted_kl(passes))
        assert row["sfpo/kl_reached"] == pytest.approx(row["sfpo/pass_3/kl"])
        assert 0 < row["sfpo/kl_reached"] <= 2 * region.kl_budget
        assert row["sfpo/optimizer_steps_per_rollout_batch"] == row["sfpo/passes"] == 4


@pytest.mark.parametrize("settings", [{}, {"steps_per_generation": 4, "max_steps": 4}, {"inner_steps": 1}], ids=str)
def test_compact_passes_choose_the_same_alpha(tiny_model, tmp_path, settings):
    # Rollouts differ with the slightest difference in the weights, so one batch of them.
    steps = {"max_steps": settings.get("max_steps", 2) // 2}
    both = [
        train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **AUTO, **settings | steps, **SGD, compact_passes=compact)
        for compact in (True, False)
    ]
    ours, theirs = ([row for row in t.state.log_history if "sfpo/alpha" in row] for t in both)
    for one, other in zip(ours, theirs, strict=True):
        for key in ("alpha", "kl_budget", "kl_reached"):
            assert one[f"sfpo/{key}"] == pytest.approx(other[f"sfpo/{key}"], rel=1e-3, abs=1e-7), key
    for name, weight in weights(both[0]).items():
        torch.testing.assert_close(weight, weights(both[1])[name], rtol=1e-4, atol=1e-6)


def test_a_batch_without_any_advantage_is_a_grpo_step(tiny_model, tmp_path):
    def equal(completions, **columns):
        return [1.0] * len(completions)

    ours = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha="auto", **LIKE_TRL, reward=equal)
    theirs = train(GRPOTrainer, GRPOConfig, tiny_model, tmp_path, reward=equal)
    assert_same(weights(ours), weights(theirs))
    assert history(ours, "sfpo/alpha") == [0.0] * 3
    assert history(ours, "sfpo/active_share") == [0.0] * 3


def one_step(tiny_model, tmp_path, **settings):
    """The trainer after one step, θ_0, and the weights at the end of each fast pass."""
    seen = {}

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            step = trainer._sfpo_step
            parameters = [p for p in trainer.model.parameters() if p.requires_grad]
            seen["start"] = [p.detach().clone() for p in parameters]
            seen["passes"] = []
            fast_pass = step._fast_pass

            def watched(batch, rule):
                measured = fast_pass(batch, rule)
                seen["passes"].append([p.detach().clone() for p in parameters])
                return measured

            step._fast_pass = watched

    args = SFPOConfig(output_dir=str(tmp_path), **{**SETTINGS, **AUTO, "max_steps": 1, **settings})
    trainer = SFPOTrainer(
        model=tiny_model,
        reward_funcs=reward_low_digits,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        callbacks=[Watch()],
    )
    trainer.train()
    return trainer, seen["start"], seen["passes"]


def test_a_pass_that_leaves_the_region_alone_ends_the_step_inside(tiny_model, tmp_path):
    trainer, start, passes = one_step(tiny_model, tmp_path, learning_rate=1.0, **SGD)
    (row,) = (row for row in trainer.state.log_history if "sfpo/alpha" in row)
    kl, budget = row["sfpo/pass_1/kl"], row["sfpo/kl_budget"]
    assert kl > budget
    assert row["sfpo/alpha"] == pytest.approx(math.sqrt(budget / kl))
    assert row["sfpo/optimizer_steps_per_rollout_batch"] == 1
    assert row["sfpo/passes"] == 2
    assert "sfpo/pass_2/kl" not in row
    # The second pass was measured and made no step; the weights end between θ_0 and θ_1, without a slow pass.
    assert len(passes) == 2
    for weight, before, first, second in zip(trainer.model.parameters(), start, *passes, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(weight, before + row["sfpo/alpha"] * (first - before))


def test_a_small_rate_extrapolates_up_to_the_largest_alpha(tiny_model, tmp_path):
    trainer, start, passes = one_step(tiny_model, tmp_path, learning_rate=1e-5, alpha_max=5.0, **SGD)
    assert history(trainer, "sfpo/alpha") == [5.0]
    for weight, before, last in zip(trainer.model.parameters(), start, passes[-1], strict=True):
        # The slow pass is about a third of the trajectory, which was extrapolated five times.
        torch.testing.assert_close(weight - before, (last - before) * (5 + 1 / 3), rtol=0.1, atol=3e-7)


def test_the_line_search_moves_back_and_makes_the_slow_gradient_anew(tiny_model, tmp_path):
    # Without a KL of its own, one fast pass is taken whole; the slow pass finds it far outside.
    settings = {"inner_steps": 1, "learning_rate": 0.3, **SGD}
    trainer, _, _ = one_step(tiny_model, tmp_path, **settings)
    (row,) = (row for row in trainer.state.log_history if "sfpo/alpha" in row)
    assert row["sfpo/line_search_steps"] >= 1
    assert row["sfpo/alpha"] < 1
    assert row["sfpo/kl_reached"] <= 2 * row["sfpo/kl_budget"]

    # A fixed α there gives the same gradient, and so the same weights.
    fixed, _, _ = one_step(tiny_model, tmp_path, **settings | {"alpha": row["sfpo/alpha"]})
    for ours, theirs in zip(trainer.model.parameters(), fixed.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_run_that_is_resumed_ends_as_one_that_was_not(tiny_model, tmp_path):
    settings = {**AUTO, "gate": "exit", "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings)
    resumed = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, resume=str(tmp_path / "checkpoint-2"), **settings)
    assert_same(weights(resumed), weights(whole))
    assert history(resumed, "sfpo/alpha") == history(whole, "sfpo/alpha")


@pytest.mark.parametrize("settings", [{}, {"steps_per_generation": 4, "max_steps": 4}], ids=str)
def test_a_kl_stop_far_away_is_multi_epoch_grpo_and_at_zero_distance_grpo(tiny_model, tmp_path, settings):
    def trained(**more):
        return weights(train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, gate="off", **settings, **more))

    assert_same(trained(alpha=1.0, target_kl=1e9), trained(alpha=1.0))
    if not settings:  # with several mini-batches the second one's KL already stops
        assert_same(trained(alpha=1.0, target_kl=1e-12), trained(alpha=0.0))


def test_the_kl_stop_leaves_out_the_steps_beyond_it(tiny_model, tmp_path):
    settings = {"alpha": 1.0, "gate": "off", "learning_rate": 0.1, **SGD, "target_kl": 0.003, "inner_steps": 7}
    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings)
    for row in (row for row in trainer.state.log_history if "sfpo/alpha" in row):
        steps = int(row["sfpo/optimizer_steps_per_rollout_batch"])
        kls = [row[f"sfpo/pass_{k}/kl"] for k in range(steps)]
        assert max(kls) <= 1.5 * 0.003
        if steps < 8:
            assert row[f"sfpo/pass_{steps}/kl"] > 1.5 * 0.003


def test_each_mini_batch_is_asked_about_alone(tiny_model, tmp_path):
    answers = []

    class Noted(StepLog):
        def latest_kl(self):
            answers.append(super().latest_kl())
            return answers[-1]

    settings = {**AUTO, "steps_per_generation": 4, "max_steps": 1, "learning_rate": 1e-3, "kl_budget": 10.0, **SGD}
    with mock.patch("sfpo.trl.trainer.StepLog", Noted):
        trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings)
    (row,) = (row for row in trainer.state.log_history if "sfpo/pass_0/kl" in row)
    assert answers[0] == pytest.approx(0, abs=1e-9)
    # The mean over pass 0 is that of both mini-batches, so the second one's is about twice as much.
    assert answers[1] > 1.3 * row["sfpo/pass_0/kl"] > 0


def test_settings_that_contradict_one_another_are_refused(tmp_path):
    with pytest.raises(ValueError, match="leave target_kl out"):
        SFPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, target_kl=0.03)
    with pytest.raises(ValueError, match="'auto'"):
        SFPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, alpha="automatic")
