"""Rollouts of several turns: the tokens of tools and environments are seen, but are not the policy's."""

import json

import pytest
import torch
from chat_models import template, tokenizer_for
from datasets import Dataset
from tiny_qwen import tiny_qwen
from tiny_runs import LIKE_TRL, SETTINGS, assert_same, history, weights
from trl import GRPOConfig, GRPOTrainer

from sfpo.trl import SFPOConfig, SFPOTrainer

QUESTIONS = [[{"role": "user", "content": f"{a}+{b}="}] for a in range(4) for b in range(4)]


def add(a: int, b: int) -> int:
    """
    Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


class Calculator:
    def reset(self, **row):
        return None

    def add(self, a: int, b: int) -> int:
        """
        Add two numbers.

        Args:
            a: The first.
            b: The second.
        """
        return a + b


def words_of(index, second_turn):
    """What completion `index` says in a turn: two of three ask a tool first."""
    call = json.dumps({"name": "add", "arguments": {"a": 2, "b": index}})
    if index % 3 and not second_turn:
        return f"<tool_call>\n{call}\n</tool_call><|im_end|>"
    return f"{'so: ' if second_turn else 'it is ' * (index % 4)}{index}<|im_end|>"


class Scripted:
    """In place of sampling, which a random model would not call tools by."""

    def _generate_single_turn(self, prompt_ids, *more, **named):
        texts = self.processing_class.batch_decode(prompt_ids)
        said = [words_of(index, "<tool_response>" in text) for index, text in enumerate(texts)]
        return self.processing_class(said)["input_ids"], None


class Ours(Scripted, SFPOTrainer):
    pass


class Theirs(Scripted, GRPOTrainer):
    pass


def roll_out(prompts, trainer):
    """Two turns with what an environment says in between."""
    tokenizer = trainer.processing_class
    prompt_ids = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=True)["input_ids"]
    completion_ids, mask = [], []
    for index in range(len(prompts)):
        parts = ("it is " * (index % 3), "no, try again", f"{index}<|im_end|>")
        ids = [tokenizer(part)["input_ids"] for part in parts]
        completion_ids.append([token for part in ids for token in part])
        mask.append([int(number != 1) for number, part in enumerate(ids) for _ in part])
    return {"prompt_ids": prompt_ids, "completion_ids": completion_ids, "logprobs": None, "env_mask": mask}


WAYS = {
    "tools": {"tools": [add]},
    "environment": {"environment_factory": Calculator},
    "rollout_func": {"rollout_func": roll_out},
}


def reward_answers(completions, **columns):
    """More for shorter answers."""
    return [1.0 / len(messages[-1]["content"] or "-") for messages in completions]


def run(trainer_class, config_class, tmp_path, way, **settings):
    tokenizer = tokenizer_for(template("qwen3"))
    trainer = trainer_class(
        model=tiny_qwen(tokenizer, 2048),
        processing_class=tokenizer,
        reward_funcs=reward_answers,
        args=config_class(
            output_dir=str(tmp_path), **{**SETTINGS, "max_completion_length": 256, "max_steps": 2, **settings}
        ),
        train_dataset=Dataset.from_dict({"prompt": QUESTIONS}),
        **WAYS[way],
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("way", WAYS)
def test_a_closed_gate_is_grpo_bit_for_bit(tmp_path, way):
    ours = run(Ours, SFPOConfig, tmp_path, way, alpha=0.0, **LIKE_TRL)
    theirs = run(Theirs, GRPOConfig, tmp_path, way)
    assert_same(weights(ours), weights(theirs))
    for key in ("loss", "reward", "entropy", "grad_norm", "completions/mean_length"):
        assert history(ours, key) == history(theirs, key)
    masks = [inputs["tool_mask"] for inputs in ours._buffered_inputs]
    assert any((mask == 0).any() for mask in masks)


@pytest.mark.parametrize("way", WAYS)
def test_passes_move_and_cheap_ones_move_alike(tmp_path, way):
    # SGD, since Adam makes a whole step of a gradient that is nothing but rounding.
    settings = {"gate": "off", "max_steps": 1, "optim": "sgd", "learning_rate": 0.5}
    compact, whole, plain = (
        run(Ours, SFPOConfig, tmp_path, way, alpha=alpha, compact_passes=cheap, **settings)
        for alpha, cheap in ((0.8, True), (0.8, False), (0.0, False))
    )
    assert history(compact, "sfpo/passes") == [4]
    assert history(compact, "sfpo/pass_3/kl")[0] > 1e-4
    assert max((weights(compact)[name] - weight).abs().max() for name, weight in weights(plain).items()) > 1e-3
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weights(compact)[name], weight, rtol=1e-4, atol=2e-5)
    # The mean entropy is that of the tokens that the policy chose.
    assert history(compact, "sfpo/entropy") == pytest.approx(history(whole, "sfpo/entropy"), rel=1e-4)


def test_remax_s_greedy_rollout_calls_tools_too(tmp_path):
    trainer = run(
        Ours, SFPOConfig, tmp_path, "tools", alpha=0.0, gate="off", advantage_estimator="remax", num_generations=4
    )
    assert history(trainer, "sfpo/rollouts") == [10, 20]
    # By the script, the first says "0" at once, and the second, which alone has another turn, "so: 0".
    assert history(trainer, "sfpo/greedy_reward") == pytest.approx([(1 + 1 / 5) / 2] * 2)


def test_remax_refuses_an_environment(tmp_path):
    with pytest.raises(ValueError, match="which environment_factory cannot be asked for"):
        run(Ours, SFPOConfig, tmp_path, "environment", advantage_estimator="remax")
