"""The model's own logits against TRL's head: same log-probabilities, entropies and gradients."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

from sfpo.model.capabilities import projects_to_logits
from sfpo.trl import head as head_file
from sfpo.trl.head import Head

SIZES = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 1.0,
    "pad_token_id": 0,
}
TOKENS = 24
"""Positions of the micro-batch below, including its padding."""


def plain():
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def soft_capped():
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=3.0))


def scaled():
    return GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=4.0))


def scores_and_gradients(model, head, entropy_weight, autocast=False, adapter=False):
    ids = torch.randint(0, 23, (4, 6), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(6) < torch.tensor([6, 2, 5, 1])[:, None]).long()
    weights = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(2))
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logps, entropies = head.score(model, ids, mask, input_ids=ids.roll(1, 1), attention_mask=mask)
    (weights[0] * logps + entropy_weight * weights[1] * entropies).sum().backward()
    assert not logps[mask == 0].any()
    assert not entropies[mask == 0].any()
    trained = {name: p for name, p in model.named_parameters() if not adapter or p.requires_grad}
    return logps.detach(), entropies.detach(), {name: p.grad.clone() for name, p in trained.items()}


def own_head(model, temperature, chunk):
    return Head(temperature, model.get_output_embeddings(), chunk, projects_to_logits(model))


def projections(model):
    """Collects the number of tokens in each call of the model's projection."""
    tokens = []
    model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: tokens.append(output[..., 0].numel())
    )
    return tokens


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [TOKENS, TOKENS - 1, 5, 1])
@pytest.mark.parametrize("make_model", [plain, soft_capped, scaled])
def test_own_logits_score_as_trls_head(make_model, chunk, temperature, entropy_weight):
    torch.manual_seed(0)
    model = make_model()
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    heads = own_head(model, temperature, chunk), Head(temperature)
    own, trls = (scores_and_gradients(model, head, entropy_weight) for head in heads)
    for ours, theirs in zip(own[:2], trls[:2], strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert own[1].max() > 0.3
    largest = max(gradient.abs().max() for gradient in trls[2].values())
    for name, gradient in trls[2].items():
        torch.testing.assert_close(own[2][name], gradient, rtol=1e-4, atol=1e-5 * float(largest))


def test_no_more_than_a_chunk_is_projected():
    model = plain()
    head = own_head(model, 1.0, 5)
    tokens = projections(model)
    scores_and_gradients(model, head, 0.3)
    # One token of the forward, and 14 tokens in chunks, which the gradient makes again.
    assert sorted(tokens) == [1, 4, 4, 5, 5, 5, 5]


def test_what_a_model_adds_to_its_logits_is_left_to_trls_head():
    torch.manual_seed(0)
    model = soft_capped()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    head = own_head(model, 1.0, 5)
    tokens = projections(model)
    scores_and_gradients(model, head, 0.3)
    assert tokens == []


@pytest.mark.parametrize("make_model", [plain, soft_capped, scaled])
def test_a_cache_is_extended_by_one_forward_alone(make_model):
    """Completions attend to their prompts through a cache, which a second forward would extend again."""
    torch.manual_seed(0)
    model = make_model()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    ids = torch.randint(1, 23, (2, 9))
    scores = []
    for chunk in (2 * 4, 3):
        head = own_head(model, 1.0, chunk)
        cache = model(input_ids=ids[:, :5], use_cache=True).past_key_values
        mask = torch.ones_like(ids[:, 5:])
        scores.append(head.score(model, ids[:, 5:], mask, input_ids=ids[:, 4:8], past_key_values=cache))
        assert cache.get_seq_length() == 5 + 4
    for whole, chunks in zip(*scores, strict=True):
        torch.testing.assert_close(chunks, whole, rtol=1e-4, atol=1e-5)


def test_a_projection_with_an_adapter():
    torch.manual_seed(0)
    model = get_peft_model(plain(), LoraConfig(target_modules=["lm_head"], init_lora_weights=False))
    whole, chunks = (
        scores_and_gradients(model, own_head(model, 1.0, chunk), 0.3, adapter=True) for chunk in (TOKENS, 5)
    )
    for ours, theirs in zip(chunks[:2], whole[:2], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(chunks[2]) == 2
    for name, gradient in whole[2].items():
        assert gradient.any()
        torch.testing.assert_close(chunks[2][name], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make_model", "chunk"), [(scaled, TOKENS), (plain, 5)])
def test_autocast_rounds_no_more_than_in_trls_head(make_model, chunk):
    torch.manual_seed(0)
    model = make_model()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    own = own_head(model, 1.0, chunk)
    exact = scores_and_gradients(model, own, 0.3)
    ours, theirs = (scores_and_gradients(model, head, 0.3, autocast=True) for head in (own, Head(1.0)))
    for kind in range(2):
        assert ours[kind].dtype == torch.float32
        error, trls_error = ((scores[kind] - exact[kind]).norm() for scores in (ours, theirs))
        assert 0 < error < 1.5 * trls_error
    for name, gradient in exact[2].items():
        assert (ours[2][name] - gradient).norm() < 1.5 * (theirs[2][name] - gradient).norm()


def test_which_head(monkeypatch):
    monkeypatch.setattr(head_file, "_CHUNK_BYTES", 4 * 23 * 6 + 1)
    model = plain()
    settings = {"temperature": 0.5, "in_float32": False, "in_chunks": True}
    head = Head.of(model, **settings)
    assert head == Head(0.5, model.lm_head, 6, True)
    with torch.autocast("cpu", torch.bfloat16):
        assert Head.of(model, **settings).chunk == 12
    assert Head.of(model, **(settings | {"in_float32": True})) == Head(0.5)
    assert Head.of(model.to("meta"), **settings) == Head(0.5)
