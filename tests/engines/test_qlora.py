"""Adapters over a base whose weights are integers, as QLoRA's are: bitsandbytes itself needs a GPU."""

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import nn
from transformers import AutoModelForCausalLM
from worker import PROMPTS, SETTINGS, reward_low_digits

from sfpo.trl import SFPOConfig, SFPOTrainer


class Int8Linear(nn.Module):
    """A frozen layer with 8-bit weights (out, in) and a scale a row."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        self.weight = nn.Parameter((linear.weight.detach() / scale).round().to(torch.int8), requires_grad=False)
        self.register_buffer("scale", scale)

    def forward(self, inputs):
        return nn.functional.linear(inputs, self.weight * self.scale)


def test_integer_weights_are_neither_copied_nor_moved(tiny_model, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for layer in model.model.layers:
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(layer.mlp, name, Int8Linear(getattr(layer.mlp, name)))
    trainer = SFPOTrainer(
        model=model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(output_dir=str(tmp_path), **SETTINGS, use_cpu=True, gate="off"),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
    )
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    storage = {name: weight.data_ptr() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert sum(weight.dtype == torch.int8 for weight in after.values()) == 6
    for name, weight in after.items():
        assert torch.equal(weight, before[name]) == ("lora_" not in name), name
        assert weight.data_ptr() == storage[name], name
    adapters = sum(weight.nbytes for name, weight in after.items() if "lora_" in name)
    log = [row["sfpo/snapshot_bytes"] for row in trainer.state.log_history if "sfpo/snapshot_bytes" in row]
    assert log == [adapters] * 2
