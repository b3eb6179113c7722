"""When rollouts come from a vLLM server: which weights it is given, and when. TRL's client is faked at its boundary."""

import pytest
import torch
from datasets import Dataset
from trl.generation import vllm_generation

from sfpo.trl import SFPOConfig, SFPOTrainer


class Server:
    """Answers as `VLLMClient` does, and keeps what it was sent, in order."""

    def __init__(self, *args, **kwargs):
        self.events = []

    def init_communicator(self, device):
        pass

    def close_communicator(self):
        pass

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_params(self, metadata, parameters):
        self.events.append(("weights", {name: weight.detach().clone() for name, weight in parameters}))

    def reset_prefix_cache(self):
        pass

    def generate(self, prompts, n, **settings):
        self.events.append(("rollouts", len(prompts) * n))
        completions = [[3 + (row + token) % 10 for token in range(4)] for row in range(len(prompts) * n)]
        return {
            "prompt_ids": prompts,
            "completion_ids": completions,
            "logprobs": [[[-1.0] for _ in completion] for completion in completions],
        }


class Watched(SFPOTrainer):
    """Keeps the weights at every θ_0: what the slow correction of the batch before left."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.starts = []

    def _start_sfpo_step(self, window):
        self.starts.append({name: weight.detach().clone() for name, weight in self.model.named_parameters()})
        super()._start_sfpo_step(window)


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_server_is_given_the_corrected_weights_once_a_rollout_batch(tiny_model, tmp_path, monkeypatch, mini_batches):
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda: True)
    monkeypatch.setattr(vllm_generation, "VLLMClient", Server)
    trainer = Watched(
        model=tiny_model,
        reward_funcs=lambda completions, **columns: [float(row % 3) for row in range(len(completions))],
        args=SFPOConfig(
            output_dir=str(tmp_path),
            use_vllm=True,
            vllm_mode="server",
            gate="off",
            per_device_train_batch_size=4,
            num_generations=4,
            gradient_accumulation_steps=1,
            steps_per_generation=mini_batches,
            max_completion_length=4,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            max_steps=3 * mini_batches,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": [f"{a}+{b}=" for a in range(4) for b in range(6)]}),
    )
    trainer.train()

    events = trainer.vllm_generation.vllm_client.events
    assert [kind for kind, _ in events] == ["weights", "rollouts"] * 3
    sent = [content for kind, content in events if kind == "weights"]
    for theirs, ours in zip(sent, trainer.starts, strict=True):
        for name, weight in theirs.items():
            assert torch.equal(weight, ours[name]), name
    assert any(not torch.equal(sent[0][name], sent[1][name]) for name in sent[0])
