"""ReMax's greedy rollouts in the command: options, what a run will cost, and when to warn that nothing is learnt."""

import json

import pytest

from sfpo.cli import main
from sfpo.training.cost import estimate
from sfpo.training.options import parse
from sfpo.training.signals import PATIENCE, SignalWarnings

REMAX = ("--advantage_estimator", "remax")


@pytest.mark.parametrize(("group", "rollouts"), [(8, 36), (1, 64)])
def test_a_greedy_rollout_of_each_prompt_is_in_the_cost(group, rollouts):
    sizes = ("--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "1", "--max_steps", "10")
    training = parse([*REMAX, *sizes, "--num_generations", str(group)]).training
    assert training.scale_rewards == "none"
    cost = estimate(training, 1000)
    assert (cost.prompts_per_batch, cost.rollouts_per_batch) == (32 // group, rollouts)
    assert cost.rollouts == 10 * rollouts


def test_a_run_s_configuration_repeats_it():
    assert parse(REMAX).effective()["advantage_estimator"] == "remax"


@pytest.mark.parametrize(
    ("logs", "warnings"),
    [
        ({"frac_reward_zero_std": 1.0, "grad_norm": 0.0}, 1),
        ({"frac_reward_zero_std": 1.0, "grad_norm": 0.5}, 1),
        # All samples of a prompt earned the same, but the greedy completion something else.
        ({"frac_reward_zero_std": 1.0, "grad_norm": 0.5, "sfpo/greedy_reward": 0.4}, 0),
        ({"frac_reward_zero_std": 1.0, "grad_norm": 0.0, "sfpo/greedy_reward": 0.5}, 1),
    ],
)
def test_a_greedy_completion_may_teach_where_a_group_does_not(logs, warnings):
    said = []
    signals = SignalWarnings(said.append)
    for _ in range(PATIENCE):
        signals.on_log(None, None, None, {"reward": 0.5, **logs})
    assert len(said) == warnings
    assert all(("the greedy one included" in text) == ("sfpo/greedy_reward" in logs) for text in said)


def test_the_records_keep_samples_alone(tmp_path):
    small = "--max_steps 1 --per_device_train_batch_size 16 --eval_problems 8 --train_problems 64 --max_completion_length 8"
    assert main(["train", *REMAX, *small.split(), "--output_dir", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert len(rows) == 16
