"""Tiny random models of many architectures, made from their configurations.

Their sizes are such that the rows below cross what a forward may treat in a special way: windows of 8 tokens, rotary embeddings
made for 16, and chunks of logits.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY = 48
ORIGINAL_LENGTH = 16

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embed_dim", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_hidden_size", "ffn_dim", "d_ff", "n_inner"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "state_size"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 128),
    **dict.fromkeys(("sliding_window", "attention_chunk_size", "window_size"), 8),
    **dict.fromkeys(("initializer_range", "init_std"), 0.3),
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": 16,
    "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0, "rotary_dim": 4,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1,
    "router_aux_loss_coef": 0.0,  # with which TRL scores
}  # fmt: skip
"""Sizes under the names of all architectures."""


def rotary(kind: str, **more: Any) -> dict[str, Any]:
    """A rotary embedding made for `ORIGINAL_LENGTH` tokens and scaled to twice as many."""
    return {"rope_type": kind, "rope_theta": 10_000.0, "factor": 2.0, **more}


_FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 2.5, 3.0, 3.5]}
_LATENT = {"head_dim": None, "num_key_value_heads": 4}
"""Of attention with latent keys, whose head size is made of other sizes."""

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        kind: (kind, {})
        for kind in (
            "apertus", "arcee", "biogpt", "bitnet", "bloom", "codegen", "cohere", "cohere2", "ctrl", "diffllama", "ernie4_5",
            "exaone4", "falcon", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neox",
            "gpt_oss", "gptj", "granite", "helium", "hunyuan_v1_dense", "lfm2", "llama", "mamba", "minimax", "ministral",
            "mistral", "mixtral", "mpt", "nanochat", "nemotron", "olmo", "olmo2", "olmo3", "openai-gpt", "opt", "persimmon",
            "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2", "xglm",
            "xlnet",
        )
    },
    "falcon, alibi": ("falcon", {"alibi": True}),
    "granite, scaled logits": ("granite", {"logits_scaling": 4.0}),
    "gpt_neo": ("gpt_neo", {"attention_types": [[["global", "local"], 1]]}),
    "gpt_neo, global": ("gpt_neo", {"attention_types": [[["global"], 2]]}),
    "deepseek_v3": ("deepseek_v3", _LATENT),
    "llama, dynamic": ("llama", {"rope_parameters": rotary("dynamic"), "max_position_embeddings": ORIGINAL_LENGTH}),
    "llama, linear": ("llama", {"rope_parameters": rotary("linear")}),
    "llama, yarn": (
        "llama", {"rope_parameters": rotary("yarn", original_max_position_embeddings=ORIGINAL_LENGTH)}
    ),
    "phi3, longrope": (
        "phi3",
        {"rope_parameters": rotary("longrope", **_FACTORS), "original_max_position_embeddings": ORIGINAL_LENGTH},
    ),
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
}  # fmt: skip

PADDING_MATTERS_TO_TRL = {
    "biogpt", "ctrl", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neo, global", "openai-gpt", "xglm",
    "hunyuan_v1_dense",  # whose norms of queries and keys, after the rotation, see absolute positions
}  # fmt: skip
"""Those to which TRL passes no positions although they count padding among them."""


def make_model(name: str) -> Any:
    """A model of an architecture, the same every time."""
    kind, settings = ARCHITECTURES[name]
    known = CONFIG_MAPPING[kind]().to_dict()
    sizes = {key: size for key, size in _SIZES.items() if key in known and not isinstance(known[key], list | dict)}
    for window in ("sliding_window", "attention_chunk_size"):
        if known.get(window) is None:
            sizes.pop(window, None)
    settings = {key: value for key, value in {**sizes, **settings}.items() if value is not None}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).float().eval()
