"""What models are taken to allow, by class and configuration."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from sfpo.model.capabilities import Capabilities, _longest, projects_to_logits

SIZES = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
NOTHING, ROWS, ALL = Capabilities(False, False), Capabilities(True, False), Capabilities(True, True)


LINEAR, DYNAMIC = ({"rope_type": kind, "factor": 2.0, "rope_theta": 10_000.0} for kind in ("linear", "dynamic"))
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "rope_theta": 10_000.0,
}


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("llama", SIZES, ALL),
        ("qwen2", {**SIZES, "use_sliding_window": False}, ALL),
        ("gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2}, ALL),
        ("bloom", {"hidden_size": 16, "n_layer": 1, "n_head": 2}, ALL),
        # A rotary embedding that depends on the length: the same up to its original length.
        (
            "llama",
            {**SIZES, "max_position_embeddings": 32, "rope_parameters": DYNAMIC},
            Capabilities(True, True, 31),
        ),
        (
            "phi3",
            {**SIZES, "original_max_position_embeddings": 16, "max_position_embeddings": 64, "rope_parameters": LONGROPE},
            Capabilities(True, True, 16),
        ),
        (
            "llama",
            {**SIZES, "rope_parameters": LINEAR},
            ALL,
        ),
        # Windows, recurrences, chunks.
        ("mistral", {**SIZES, "sliding_window": 8}, ROWS),
        ("gemma2", {**SIZES, "num_hidden_layers": 2}, ROWS),
        ("mamba", {"hidden_size": 16, "num_hidden_layers": 1}, ROWS),
        ("gpt_neo", {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]}, ROWS),
        ("gpt_neo", {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global"], 2]]}, ALL),
        # No cache, or one of another kind; positions counted in columns.
        ("openai-gpt", {"n_embd": 16, "n_layer": 1, "n_head": 2}, ROWS),
        ("xlm", {"emb_dim": 16, "n_layers": 1, "n_heads": 2}, ROWS),
        ("mpt", {"d_model": 16, "n_layers": 1, "n_heads": 2}, NOTHING),
        ("rwkv", {"hidden_size": 16, "num_hidden_layers": 1}, NOTHING),
        ("cpmant", {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "dim_head": 8}, NOTHING),
        ("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2}, NOTHING),
    ],
)  # fmt: skip
def test_kinds_of_models(kind, settings, expected):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    assert Capabilities.of(model) == expected


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_parameters": {"full_attention": DYNAMIC, "sliding_attention": LINEAR}}, 31),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, 31),
        ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 8}, 8),
        ({"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 8}}, None),
        ({"rope_scaling": None}, None),
    ],
    ids=str,
)
def test_rotary_embeddings_in_configurations_of_other_forms(rope, expected):
    """As models with code of their own have them, and those with an embedding for each kind of layer."""
    settings = {"max_position_embeddings": 32} | rope
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(to_dict=lambda: settings))
    assert _longest(config) == expected


def test_the_length_up_to_which_they_hold():
    assert ALL.fit(10**9)
    limited = Capabilities(True, True, 16)
    assert limited.fit(16)
    assert not limited.fit(17)


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        (LoraConfig(target_modules=["q_proj"]), ALL),
        (LoraConfig(target_modules=["q_proj"], alora_invocation_tokens=[3]), NOTHING),
        (PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), NOTHING),
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), NOTHING),
    ],
    ids=["LoRA", "activated LoRA", "prefix tuning", "prompt tuning"],
)
def test_adapters(adapter, expected):
    adapter.task_type = "CAUSAL_LM"
    assert Capabilities.of(get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), adapter)) == expected


class ScaledInPlace(LlamaForCausalLM):
    """Scales its logits in a way that no setting tells of."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits.mul_(0.5)
        return output


class Cropped(LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits[..., :20]
        return output


@pytest.mark.parametrize(
    ("model_class", "config", "expected"),
    [
        (LlamaForCausalLM, LlamaConfig(**SIZES), True),
        (GraniteForCausalLM, GraniteConfig(**SIZES), True),
        (GraniteForCausalLM, GraniteConfig(**SIZES, logits_scaling=4.0), False),
        (CohereForCausalLM, CohereConfig(**SIZES), False),
        (Gemma2ForCausalLM, Gemma2Config(**SIZES), False),
        (ScaledInPlace, LlamaConfig(**SIZES), False),
        (Cropped, LlamaConfig(**SIZES), False),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whether_the_projection_alone_makes_the_logits(model_class, config, expected):
    torch.manual_seed(0)
    assert projects_to_logits(model_class(config)) is expected


def test_a_projection_of_zeros_hides_no_scaling():
    model = GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=4.0))
    nn.init.zeros_(model.lm_head.weight)
    assert not projects_to_logits(model)
