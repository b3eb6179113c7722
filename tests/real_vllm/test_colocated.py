"""vLLM really run, colocated with the training, on the embedded model and a CPU."""

from functools import partial

import pytest
import torch
import vllm
from datasets import Dataset
from transformers import TrainerCallback
from trl.generation import vllm_generation

from sfpo.model.embedded import MODEL_PATH
from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.step import SFPOStep

PROMPTS = [f"{a}+{b}=" for a in range(11, 19) for b in range(21, 29)]
STEPS = 3
SETTINGS = {
    "use_vllm": True,
    "vllm_mode": "colocate",
    "vllm_max_model_length": 48,
    "gate": "off",
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "num_generations": 4,
    "max_completion_length": 12,
    "learning_rate": 1e-2,
    "max_steps": STEPS,
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "bf16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}


def rewards(completions, **columns):
    """Different for most completions, so that every batch has a gradient."""
    return [sum(character in "13579" for character in text) / (1 + len(text)) for text in completions]


class Watch(TrainerCallback):
    """Notes the weights that each step ends with."""

    def __init__(self, events):
        self.events = events

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.events.append(("step end", {name: weight.detach().clone() for name, weight in model.named_parameters()}))


def in_engine(trainer):
    """The weights of the engine, under the names that they were loaded by."""
    executor = trainer.vllm_generation.llm.llm_engine.model_executor
    return dict(executor.driver_worker.model_runner.model.named_parameters())


def same_weights(engine, trained):
    """vLLM stacks projections that read the same input."""
    stacked = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    compared = 0
    for name, weight in engine.items():
        kind = next((kind for kind in stacked if f".{kind}." in name), None)
        parts = [name] if kind is None else [name.replace(kind, part) for part in stacked[kind]]
        whole = torch.cat([trained[part] for part in parts])
        # The vocabulary is padded.
        if not torch.equal(weight[: len(whole)], whole):
            return False
        compared += len(parts)
    return compared == len(trained)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains SFPO with rollouts by vLLM; returns the trainer, what happened in order, and the differences of log-probabilities."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    # On a CPU vLLM otherwise packs linear weights for oneDNN, and then cannot take new ones.
    monkeypatch.setattr("vllm._custom_ops._supports_onednn", False)
    # TRL has no option for this, and compiling for a CPU takes minutes.
    monkeypatch.setattr(vllm_generation, "LLM", partial(vllm.LLM, enforce_eager=True, dtype="float32"))

    def run(sync):
        events, differences = [], []

        class Watched(SFPOTrainer):
            def _generate_and_score_completions(self, inputs):
                output = super()._generate_and_score_completions(inputs)
                mask = output["completion_mask"].bool()
                apart = output["old_per_token_logps"] - output["sampling_per_token_logps"]
                differences.append(apart[mask].abs().max().item())
                return output

        class WatchedStep(SFPOStep):
            def _take_trajectory(self, batch, rule):
                events.append(("trajectory", None))
                super()._take_trajectory(batch, rule)

        monkeypatch.setattr("sfpo.trl.trainer.SFPOStep", WatchedStep)
        sync_weights, generate = vllm_generation.VLLMGeneration.sync_weights, vllm_generation.VLLMGeneration.generate

        def noted_sync(self):
            if sync:
                sync_weights(self)
            weights = {name: weight.detach().clone() for name, weight in in_engine(trainer).items()}
            events.append(("sync", weights))

        def noted_generate(self, *args, **keywords):
            events.append(("rollouts", None))
            return generate(self, *args, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(vllm_generation.VLLMGeneration, "sync_weights", noted_sync)
            patch.setattr(vllm_generation.VLLMGeneration, "generate", noted_generate)
            trainer = Watched(
                model=str(MODEL_PATH),
                reward_funcs=rewards,
                args=SFPOConfig(output_dir=str(tmp_path), **SETTINGS),
                train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
                callbacks=[Watch(events)],
            )
            trainer.train()
        return trainer, events, differences

    return run


def test_the_engine_samples_with_the_trainer_s_weights(train):
    trainer, events, differences = train(sync=True)
    assert [name for name, _ in events] == ["sync", "rollouts", "trajectory", "step end"] * STEPS
    assert max(differences) < 1e-4, differences
    for start in range(4, len(events), 4):
        assert same_weights(events[start][1], events[start - 1][1]), "the engine lacks the slow correction"
    assert trainer.state.log_history[-2]["sfpo/alpha"] == pytest.approx(0.8)


def test_without_the_sync_its_samples_are_another_policy_s(train):
    _, events, differences = train(sync=False)
    assert differences[0] < 1e-4 < 1e-1 < differences[-1], differences
    assert not same_weights(events[4][1], events[3][1])
