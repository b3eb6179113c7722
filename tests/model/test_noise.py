"""After its noise is switched off, a model in training gives the same for the same."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from sfpo.model.noise import switch_off_noise

SIZES = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
GPT = {"vocab_size": 23, "n_embd": 16, "n_layer": 2, "n_head": 2}
KINDS = [
    ("qwen2", {**SIZES, "attention_dropout": 0.2}),
    ("llama", {**SIZES, "attention_dropout": 0.2}),
    ("seed_oss", {**SIZES, "residual_dropout": 0.3, "attention_dropout": 0.2}),
    ("mixtral", {**SIZES, "num_local_experts": 4, "router_jitter_noise": 0.2}),
    ("gptj", {**GPT, "rotary_dim": 4, "attn_pdrop": 0.2, "resid_pdrop": 0.2, "embd_pdrop": 0.2}),
    ("falcon", {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_dropout": 0.3}),
    (
        "opt",
        {
            "vocab_size": 23, "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 4,
            "num_attention_heads": 2, "layerdrop": 0.5, "dropout": 0.2,
        },
    ),
    ("persimmon", {**SIZES, "hidden_dropout": 0.2, "attention_dropout": 0.2}),
]  # fmt: skip


def twice(model):
    ids = torch.arange(2, 22).reshape(2, 10)
    return [model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for _ in range(2)]


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=[kind for kind, _ in KINDS])
def test_a_forward_made_twice(kind, settings):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).train()
    if kind != "mixtral":  # whose jitter few releases of transformers apply
        assert not torch.equal(*twice(model))
    switch_off_noise(model)
    assert torch.equal(*twice(model))
    assert model.training


def test_modules_and_rates_of_any_name():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.1)
            self.channels = nn.Dropout2d(0.1)
            self.attn_pdrop, self.drop_path_rate, self.moe_jitter_eps, self.scale = 0.1, 0.2, 0.3, 0.4

    layer = Layer()
    switch_off_noise(nn.Sequential(layer))
    assert (layer.dropout.p, layer.channels.p) == (0, 0)
    assert (layer.attn_pdrop, layer.drop_path_rate, layer.moe_jitter_eps, layer.scale) == (0, 0, 0, 0.4)


def test_experts_that_are_drawn_are_refused_by_name():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("phimoe", **SIZES, num_local_experts=2))
    with pytest.raises(ValueError, match="phimoe: in training it draws its experts at random"):
        switch_off_noise(model)
