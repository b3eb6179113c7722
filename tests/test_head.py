"""The model's own logits against TRL's head: same log-probabilities, entropies and gradients."""

from types import SimpleNamespace

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM
from trl.trainer.utils import add_fused_lm_head

from sfpo.trl.head import _MOST_BYTES, Head

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
OWN, TRLS = "own logits", "TRL's head"


def soft_capped():
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=3.0))


def scaled():
    return GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=4.0))


def scores_and_gradients(model, head, entropy_weight, autocast=False):
    ids = torch.randint(0, 23, (4, 6), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(6) < torch.tensor([6, 2, 5, 1])[:, None]).long()
    weights = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(2))
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logps, entropies = head.score(model, ids, mask, input_ids=ids.roll(1, 1), attention_mask=mask)
    (weights[0] * logps + entropy_weight * weights[1] * entropies).sum().backward()
    assert not logps[mask == 0].any()
    assert not entropies[mask == 0].any()
    return logps.detach(), entropies.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("make_model", [soft_capped, scaled])
def test_own_logits_score_as_trls_head(make_model, temperature, entropy_weight):
    torch.manual_seed(0)
    model = make_model()
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    own, trls = (scores_and_gradients(model, Head(temperature, own), entropy_weight) for own in (True, False))
    for ours, theirs in zip(own[:2], trls[:2], strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert own[1].max() > 0.3
    largest = max(gradient.abs().max() for gradient in trls[2].values())
    for name, gradient in trls[2].items():
        torch.testing.assert_close(own[2][name], gradient, rtol=1e-4, atol=1e-5 * float(largest))


def test_autocast_rounds_no_more_than_in_trls_head():
    torch.manual_seed(0)
    model = scaled()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    exact = scores_and_gradients(model, Head(1.0, own_logits=True), 0.3)
    ours, theirs = (scores_and_gradients(model, Head(1.0, own), 0.3, autocast=True) for own in (True, False))
    for kind in range(2):
        assert ours[kind].dtype == torch.float32
        error, trls_error = ((scores[kind] - exact[kind]).norm() for scores in (ours, theirs))
        assert 0 < error < 1.5 * trls_error
    for name, gradient in exact[2].items():
        assert (ours[2][name] - gradient).norm() < 1.5 * (theirs[2][name] - gradient).norm()


@pytest.mark.parametrize(
    ("device", "tokens", "in_float32", "head"),
    [
        ("cpu", _MOST_BYTES // 4000, False, OWN),
        ("cpu", _MOST_BYTES // 4000 + 1, False, TRLS),
        ("cpu", 1, True, TRLS),
        ("cuda", 1, False, TRLS),
    ],
)
def test_which_head(device, tokens, in_float32, head):
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=1000))
    model = SimpleNamespace(device=torch.device(device), config=config, dtype=torch.float32)
    chosen = Head.of(model, tokens, temperature=0.5, in_float32=in_float32)
    assert chosen == Head(0.5, own_logits=head == OWN)
