"""An error in one `train()` leaves nothing behind that affects the trainer's next call."""

import pytest
import torch
from datasets import Dataset
from tiny_runs import PROMPTS, SETTINGS, reward_low_digits
from tiny_runs import weights as weights_of
from transformers import set_seed

from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.step import SFPOStep

ERRORS = {**SETTINGS, "per_device_eval_batch_size": 8, "max_steps": 2, "gate": "off"}


def reward_all(completions, **columns):
    """Gives every completion an advantage of zero."""
    return [1.0 for _ in completions]


class Failing(SFPOTrainer):
    """Runs out of memory in one loss, counted from 1 over all passes, once its micro-batch has been scored."""

    fails_in = 0
    losses = 0

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.losses += 1
        if self.losses == self.fails_in:
            raise RuntimeError("out of memory")
        return loss


def make_trainer(model, folder, reward=reward_low_digits, **settings):
    return Failing(
        model=model,
        reward_funcs=reward,
        args=SFPOConfig(output_dir=str(folder), **{**ERRORS, **settings}),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        eval_dataset=Dataset.from_dict({"prompt": PROMPTS[:4]}),
    )


def fail(trainer, loss):
    trainer.fails_in = loss
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train()


def train(trainer):
    set_seed(7)
    trainer.train()
    measured = ("loss", "reward", "sfpo/entropy", "sfpo/pass_0/grad_norm", "sfpo/pass_3/kl", "sfpo/distinct_share")
    return weights_of(trainer), [
        {name: row[name] for name in measured if name in row} for row in trainer.state.log_history
    ]


@pytest.mark.parametrize("steps_per_generation", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_after_an_error_in_pass_0_training_is_that_of_a_new_trainer(
    tiny_model, tmp_path, micro_batch, steps_per_generation
):
    trainers = [make_trainer(tiny_model, tmp_path, steps_per_generation=steps_per_generation) for _ in range(2)]
    fail(trainers[0], micro_batch)
    (weights, log), (expected_weights, expected_log) = (train(trainer) for trainer in trainers)
    assert any(row.get("sfpo/pass_3/kl", 0.0) > 0 for row in expected_log)
    assert log == expected_log
    for name, weight in expected_weights.items():
        assert torch.equal(weights[name], weight), name


@pytest.mark.parametrize("steps_per_generation", [1, 2, 4])
@pytest.mark.parametrize("loss", [2, 3, 8, 11])
def test_after_an_error_every_window_holds_its_own_micro_batches(
    tiny_model, tmp_path, monkeypatch, loss, steps_per_generation
):
    """Errors in pass 0, a fast pass, the slow pass, and a later step."""
    windows = []

    class Watched(SFPOStep):
        def _take(self, batch, *more):
            windows.append(batch)
            super()._take(batch, *more)

    monkeypatch.setattr("sfpo.trl.trainer.SFPOStep", Watched)
    trainer = make_trainer(tiny_model, tmp_path, steps_per_generation=steps_per_generation)
    fail(trainer, loss)
    windows.clear()
    trainer.train()
    mini_batches = max(1, steps_per_generation // 2)
    assert [[len(mini_batch) for mini_batch in batch] for batch in windows] == [[2] * mini_batches] * (
        2 // mini_batches
    )
    micro_batches = [id(inputs) for batch in windows for mini_batch in batch for inputs in mini_batch]
    assert len(set(micro_batches)) == len(micro_batches) == 4


@pytest.mark.parametrize("loss", [1, 3], ids=["pass 0", "a fast pass"])
def test_evaluation_after_an_error_is_that_of_a_new_trainer(tiny_model, tmp_path, loss):
    trainers = [make_trainer(tiny_model, tmp_path, reward_all) for _ in range(2)]
    fail(trainers[0], loss)  # while most of the micro-batch's completions are left out
    results = []
    for trainer in trainers:
        set_seed(7)
        results.append(trainer.evaluate())
    for name in ("eval_loss", "eval_reward", "eval_entropy", "eval_completions/mean_length"):
        assert results[0][name] == results[1][name], name


def test_training_goes_on_after_a_run_that_ended_within_a_batch_of_rollouts(tiny_model, tmp_path):
    trainer = make_trainer(tiny_model, tmp_path, steps_per_generation=4, max_steps=1)
    trainer.train()
    trainer.train()
    # New rollouts, whose first mini-batch takes the SFPO step.
    assert trainer.state.log_history[0]["sfpo/alpha"] == 0.8
    assert trainer.rollouts == 2 * 16
