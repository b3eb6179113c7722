"""ReMax's advantages in TRL, against those made by hand from transformers' own greedy completions."""

import pytest
import torch
from datasets import Dataset
from tiny_runs import LIKE_TRL, PROMPTS, SETTINGS, assert_same, history, reward_low_digits, train, weights
from trl import GRPOConfig, GRPOTrainer

from sfpo.trl import SFPOConfig, SFPOTrainer

REMAX = {"advantage_estimator": "remax"}


def advantages_by_hand(trainer, batch):
    """Reward of each completion minus that of `generate`'s greedy completion of its prompt, both (R,)."""
    tokenizer, model = trainer.processing_class, trainer.model
    rewards, baselines = [], []
    for row in range(len(batch["prompt_ids"])):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row] == 1]
        sampled = batch["completion_ids"][row][batch["completion_mask"][row] == 1]
        with torch.no_grad():
            greedy = model.eval().generate(
                prompt[None], do_sample=False, max_new_tokens=trainer.args.max_completion_length
            )[0, len(prompt) :]
        texts = tokenizer.batch_decode([sampled, greedy], skip_special_tokens=True)
        reward, baseline = reward_low_digits(texts)
        rewards.append(reward)
        baselines.append(baseline)
    model.train()
    return torch.tensor(rewards) - torch.tensor(baselines), torch.tensor(baselines)


class Watched(SFPOTrainer):
    """Keeps each batch of rollouts, with the advantages that it should have."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        if self.model.training:
            self.batches = [*getattr(self, "batches", []), (output, *advantages_by_hand(self, output))]
        return output


class ReMaxByHand(GRPOTrainer):
    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        output["advantages"], _ = advantages_by_hand(self, output)
        return output


@pytest.mark.parametrize("compact_rollouts", [True, False])
@pytest.mark.parametrize("group", [1, 4])
def test_advantages_are_those_made_by_hand(tiny_model, tmp_path, group, compact_rollouts):
    settings = {"num_generations": group, "compact_rollouts": compact_rollouts, "alpha": "auto", "max_steps": 2}
    trainer = train(Watched, SFPOConfig, tiny_model, tmp_path, **REMAX, **settings)
    assert len(trainer.batches) == 2
    for batch, expected, _ in trainer.batches:
        torch.testing.assert_close(batch["advantages"], expected, rtol=0, atol=0)
        assert (expected != 0).any()
    means = [baselines.mean().item() for _, _, baselines in trainer.batches]
    assert history(trainer, "sfpo/greedy_reward") == pytest.approx(means)
    # The table of completions shows the same.
    assert list(trainer._logs["advantages"]) == trainer.batches[-1][1].tolist()


@pytest.mark.parametrize("settings", [{}, {"steps_per_generation": 4}, {"beta": 0.1}], ids=str)
def test_a_closed_gate_is_grpo_with_these_advantages_bit_for_bit(tiny_model, tmp_path, settings):
    ours = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha=0.0, **LIKE_TRL, **REMAX, **settings)
    theirs = train(ReMaxByHand, GRPOConfig, tiny_model, tmp_path, **settings)
    assert_same(weights(ours), weights(theirs))
    for key in ("loss", "reward", "reward_std", "completions/mean_length", "entropy", "grad_norm"):
        assert history(ours, key) == history(theirs, key)


def test_the_advantages_change_the_step(tiny_model, tmp_path):
    ends = [
        weights(train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha=0.8, max_steps=1, **settings))
        for settings in ({}, REMAX)
    ]
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_greedy_rollout_each_is_counted_with_one_sample_a_prompt(tiny_model, tmp_path):
    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, num_generations=1, max_steps=2, **REMAX)
    assert history(trainer, "sfpo/rollouts") == [16, 32]


@pytest.mark.parametrize("compact_rollouts", [True, False])
def test_greedy_rollouts_are_counted_and_enter_nothing_else(tiny_model, tmp_path, compact_rollouts):
    # Nothing is learnt, so that both runs sample the same.
    settings = {"learning_rate": 0.0, "compact_rollouts": compact_rollouts, "gate": "off", "max_steps": 2}
    ours = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **REMAX, **settings)
    assert history(ours, "sfpo/rollouts") == [8 + 2, 2 * (8 + 2)]
    assert ours.rollouts == 20
    assert history(ours, "sfpo/passes") == [4, 4]
    theirs = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings)
    for key in ("reward", "completions/mean_length", "completions/clipped_ratio", "sfpo/entropy"):
        # Other rows have a gradient, so that sums are made in another order.
        assert history(ours, key) == pytest.approx(history(theirs, key), rel=1e-5)
    more = [a - b for a, b in zip(history(ours, "num_tokens"), history(theirs, "num_tokens"), strict=True)]
    assert more[0] > 0
    assert more == sorted(more)


def test_reward_functions_log_for_the_samples_alone(tiny_model, tmp_path):
    def reward(completions, log_extra, log_metric, **columns):
        rewards = reward_low_digits(completions)
        log_extra("length", [len(text) for text in completions])
        log_metric("judged", len(completions))
        return rewards

    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, reward=reward, max_steps=1, **REMAX)
    assert history(trainer, "judged") == [8]
    logs = trainer._logs
    assert list(logs["extra"]["length"]) == [len(text) for text in logs["completion"]]


def test_what_nothing_judged_teaches_nothing(tiny_model, tmp_path):
    def reward(prompts, completions, **columns):
        """Judges neither the greedy completion of the first group nor the first sample."""
        rewards = reward_low_digits(completions)
        return [None, *rewards[1:]]

    batches = []

    class Kept(SFPOTrainer):
        def _generate_and_score_completions(self, inputs):
            batches.append(super()._generate_and_score_completions(inputs))
            return batches[-1]

    train(Kept, SFPOConfig, tiny_model, tmp_path, reward=reward, max_steps=1, **REMAX)
    (batch,) = batches
    assert (batch["advantages"][:4] == 0).all()
    assert (batch["advantages"][4:] != 0).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"advantage_estimator": "rloo"}, "advantage_estimator must be 'grpo' or 'remax', got 'rloo'"),
        ({**REMAX, "scale_rewards": "batch"}, "takes sums of rewards as they are: leave .* scale_rewards out"),
        ({**REMAX, "multi_objective_aggregation": "normalize_then_sum"}, "takes sums of rewards as they are"),
        ({**REMAX, "use_transformers_continuous_batching": True}, "was never tested with use_transformers_continuous"),
        ({**REMAX, "num_generations": 0}, "num_generations must be at least 1, got 0"),
        (
            {**REMAX, "num_generations": 1, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 1},
            "needs an even number of completions",
        ),
    ],
    ids=str,
)
def test_contradictions_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        SFPOConfig(output_dir=str(tmp_path), **{**SETTINGS, **settings})


def test_groups_that_processes_share_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(SFPOConfig, "world_size", 2)
    shared = {**SETTINGS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
    assert SFPOConfig(output_dir=str(tmp_path), **shared).generation_batch_size == 4
    with pytest.raises(
        ValueError, match="needs whole groups in each process, and 2 completions are not made of groups"
    ):
        SFPOConfig(output_dir=str(tmp_path), **shared, **REMAX)


def test_rollouts_that_cannot_be_greedy_are_refused(tiny_model, tmp_path):
    with pytest.raises(ValueError, match="which rollout_func cannot be asked for: leave rollout_func out"):
        SFPOTrainer(
            model=tiny_model,
            reward_funcs=reward_low_digits,
            args=SFPOConfig(output_dir=str(tmp_path), **SETTINGS, **REMAX),
            train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
            rollout_func=lambda prompts, trainer: {},
        )


def test_evaluation_makes_no_greedy_rollouts(tiny_model, tmp_path):
    trainer = SFPOTrainer(
        model=tiny_model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(output_dir=str(tmp_path), **SETTINGS, **REMAX),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        eval_dataset=Dataset.from_dict({"prompt": PROMPTS[:4]}),
    )
    metrics = trainer.evaluate()
    assert trainer.rollouts == 0
    assert "eval_sfpo/greedy_reward" not in metrics


def test_reward_functions_are_told_which_completions_are_greedy(tiny_model, tmp_path):
    told = []

    def reward(completions, **columns):
        told.append((len(completions), columns.get("is_greedy")))
        return reward_low_digits(completions)

    train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, reward=reward, max_steps=1, **REMAX)
    assert told == [(8, None), (2, [True, True])]
