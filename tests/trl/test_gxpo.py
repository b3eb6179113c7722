"""GXPO's steps in TRL's trainer."""

import pytest
import torch
from tiny_runs import LIKE_TRL, SETTINGS, assert_same, history, train, weights
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sfpo.trl import SFPOConfig, SFPOTrainer

OF_GXPO = {"inner_steps": 5, "alpha": 0.5, "gate": "off"}


class CountAdamSteps(TrainerCallback):
    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        self.counted = {int(s["step"]) for s in optimizer.state.values()}


def test_with_two_virtual_steps_it_is_sfpo_with_two_fast_passes(tiny_model, tmp_path):
    # Adam turns a gradient that is almost zero, whatever its rounding, into a step of full length; SGD does not.
    settings = {"inner_steps": 2, "alpha": 0.7, "gate": "off", "max_steps": 1, "optim": "sgd", "learning_rate": 0.1}
    ours = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings, gxpo_moments="running")
    theirs = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings)
    assert history(ours, "sfpo/extrapolation") == [1.0]
    for name, weight in weights(ours).items():
        torch.testing.assert_close(weight, weights(theirs)[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("moments", ["restored", "running"])
@pytest.mark.parametrize("mini_batches", [1, 2])
def test_every_mini_batch_has_two_fast_passes_and_a_slow_one(tiny_model, tmp_path, moments, mini_batches):
    count = CountAdamSteps()
    settings = {"steps_per_generation": 2 * mini_batches, "max_steps": 4, "learning_rate": 1e-3}
    trainer = train(
        SFPOTrainer, SFPOConfig, tiny_model, tmp_path, callbacks=[count], **OF_GXPO, **settings, gxpo_moments=moments
    )
    assert count.counted == {4 if moments == "restored" else 12}
    assert history(trainer, "sfpo/optimizer_steps_per_rollout_batch") == [3 * mini_batches] * 4
    assert history(trainer, "sfpo/passes") == [3.0] * 4
    assert history(trainer, "sfpo/alpha") == [0.5] * 4
    for key in ("drift", "pass_1/kl", "pass_2/kl"):
        assert all(value > 0 for value in history(trainer, f"sfpo/{key}")), key
    assert not history(trainer, "sfpo/pass_3/kl")
    assert all(1.0 < mean <= 3.5 for mean in history(trainer, "sfpo/extrapolation"))
    # θ_0 and g_0; from the second step on there is a state to restore, too: two moments and a count for every weight.
    held = history(trainer, "sfpo/snapshot_bytes")
    size = sum(weight.nbytes for weight in trainer.model.parameters())
    counts = 4 * len(list(trainer.model.parameters()))
    assert held == [2 * size] + [4 * size + counts if moments == "restored" else 2 * size] * 3


@pytest.mark.parametrize("settings", [{}, {"steps_per_generation": 4, "max_steps": 4}], ids=str)
def test_where_nothing_has_a_gradient_it_is_grpo(tiny_model, tmp_path, settings):
    def equal(completions, **columns):
        return [1.0] * len(completions)

    settings = {**settings, "reward": equal}
    ours = train(
        SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **OF_GXPO | LIKE_TRL, **settings, gxpo_moments="restored"
    )
    theirs = train(GRPOTrainer, GRPOConfig, tiny_model, tmp_path, **settings)
    assert_same(weights(ours), weights(theirs))
    assert set(history(ours, "sfpo/alpha")) == {0.0}
    assert set(history(ours, "sfpo/passes")) == {1.0}


def test_the_gate_turns_it_into_grpo(tiny_model, tmp_path):
    gate = {"gate": "exit", "gate_sides": "two", "entropy_window": 2, "entropy_threshold": 1e-6}
    settings = OF_GXPO | gate | {"steps_per_generation": 4, "max_steps": 8}
    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings, gxpo_moments="restored")
    assert history(trainer, "sfpo/alpha") == [0.5] * 2 + [0.0] * 6
    assert history(trainer, "sfpo/gate_closed") == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gxpo_moments": "kept"}, "restored, running"),
        ({"inner_steps": 1}, "at least 2 for GXPO"),
        ({"alpha": "auto"}, "GXPO takes a number"),
        ({"slow_correction": False}, "slow_correction"),
        ({"alpha": 1.0, "target_kl": 0.1}, "target_kl"),
    ],
)
def test_what_belongs_to_other_methods_is_refused(tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        SFPOConfig(output_dir=str(tmp_path), **{**SETTINGS, "gxpo_moments": "restored", **settings})
