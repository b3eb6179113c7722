"""vLLM gets the weights once a batch of rollouts, after the slow correction. vLLM itself is faked where TRL calls it."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from fake_vllm import FakeColocated, FakeServer
from transformers import TrainerCallback
from trl.generation import vllm_generation
from worker import PROMPTS, SETTINGS, reward_low_digits

from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.step import SFPOStep


class Watch(TrainerCallback):
    def __init__(self, events):
        self.events = events

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.events.append(("step end", {name: w.detach().clone() for name, w in model.named_parameters()}))


@pytest.fixture
def events(monkeypatch):
    """What vLLM was asked for."""
    events = []
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda *_: True)
    monkeypatch.setattr(vllm_generation, "VLLMClient", FakeServer(events))
    monkeypatch.setattr(vllm_generation, "LLM", FakeColocated(events), raising=False)
    monkeypatch.setattr(vllm_generation, "SamplingParams", SimpleNamespace, raising=False)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # TRL sets these for vLLM, and monkeypatch takes them back
        monkeypatch.delenv(name)
    return events


@pytest.mark.parametrize("steps_per_generation", [2, 4])
@pytest.mark.parametrize("mode", ["server", "colocate"])
def test_weights_are_synced_after_the_slow_correction_only(
    tiny_model, tmp_path, monkeypatch, events, mode, steps_per_generation
):
    class WatchedStep(SFPOStep):
        def _take_trajectory(self, batch, rule):
            events.append(("trajectory", None))
            super()._take_trajectory(batch, rule)
            events.append(("trajectory end", None))

    monkeypatch.setattr("sfpo.trl.trainer.SFPOStep", WatchedStep)
    settings = SETTINGS | {"use_cpu": True, "use_vllm": True, "vllm_mode": mode, "gate": "off", "max_steps": 4}
    settings |= {"steps_per_generation": steps_per_generation, "per_device_train_batch_size": 4}
    SFPOTrainer(
        model=tiny_model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(output_dir=str(tmp_path), **settings),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        callbacks=[Watch(events)],
    ).train()
    batch = ["sync", "generate", "trajectory", "trajectory end", "step end"]
    batch += ["step end"] * (steps_per_generation // 2 - 1)
    names = [name for name, _ in events]
    assert names == batch * (4 // (steps_per_generation // 2))
    for index in range(len(batch), len(events), len(batch)):
        synced, trained = events[index][1], events[index - 1][1]
        assert synced.keys() == trained.keys()
        for name, weight in trained.items():
            assert torch.equal(synced[name], weight)


@pytest.mark.parametrize("mode", ["server", "colocate"])
def test_remax_has_a_greedy_rollout_of_each_prompt(tiny_model, tmp_path, events, mode):
    settings = SETTINGS | {"use_cpu": True, "use_vllm": True, "vllm_mode": mode, "max_steps": 1, "alpha": 0.0}
    settings |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_generations": 4}
    trainer = SFPOTrainer(
        model=tiny_model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(output_dir=str(tmp_path), advantage_estimator="remax", **settings),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
    )
    trainer.train()
    asked = [(what[0], what[1]["temperature"]) for name, what in events if name == "generate"]
    assert asked == [(2, 0.0), (8, 1.0)]
    assert [name for name, _ in events] == ["sync", "generate", "generate"]
    assert trainer.rollouts == 10
