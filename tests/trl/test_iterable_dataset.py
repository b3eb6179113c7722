"""A data set that is streamed, not indexed."""

import pytest
from datasets import Dataset
from tiny_runs import LIKE_TRL, PROMPTS, SETTINGS, assert_same, history, reward_low_digits, weights
from trl import GRPOConfig, GRPOTrainer

from sfpo.trl import SFPOConfig, SFPOTrainer


def run(trainer_class, config_class, model, tmp_path, **settings):
    trainer = trainer_class(
        model=model,
        reward_funcs=reward_low_digits,
        args=config_class(output_dir=str(tmp_path), **{**SETTINGS, **settings}),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}).to_iterable_dataset(),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("steps_per_generation", [2, 4])
def test_a_closed_gate_is_grpo_bit_for_bit(tiny_model, tmp_path, steps_per_generation):
    settings = {"steps_per_generation": steps_per_generation, "max_steps": 4}
    ours = run(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha=0.0, **LIKE_TRL, **settings)
    theirs = run(GRPOTrainer, GRPOConfig, tiny_model, tmp_path, **settings)
    assert_same(weights(ours), weights(theirs))
    assert history(ours, "reward") == history(theirs, "reward")


def test_its_steps_are_slow_fast(tiny_model, tmp_path):
    trainer = run(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=2, gate="off")
    assert history(trainer, "sfpo/passes") == [4, 4]
    assert history(trainer, "sfpo/pass_3/kl")[0] > 0


def test_without_a_number_of_steps_it_is_refused(tiny_model, tmp_path):
    with pytest.raises(ValueError, match="max_steps"):
        run(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=-1)
