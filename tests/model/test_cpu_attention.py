"""The attention that trains on a CPU against transformers' own: same output, same gradients."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sfpo.model import cpu_attention
from sfpo.model.cpu import SMALL, prepare_cpu

SIZES = {
    "vocab_size": 23,
    "hidden_size": 48,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "head_dim": 8,
    "initializer_range": 0.5,
    "pad_token_id": 0,
}
PADDED_LEFT = torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1]])


def make_model(key_value_heads=2):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=key_value_heads)).train()


def own_attentions(monkeypatch):
    """Counts the times that this attention is used."""
    made = []
    apply = cpu_attention._Attention.apply
    monkeypatch.setattr(cpu_attention._Attention, "apply", lambda *args: made.append(args) or apply(*args))
    return made


def logits_and_gradients(model, attention, mask, autocast=False, cached=0):
    """Logits and gradients of the tokens that follow `cached` tokens encoded earlier."""
    model.set_attn_implementation(attention)
    model.zero_grad()
    ids = torch.randint(1, 23, mask.shape, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        cache = None
        if cached:
            cache = model(ids[:, :cached], attention_mask=mask[:, :cached], use_cache=True).past_key_values
        logits = model(ids[:, cached:], attention_mask=mask, past_key_values=cache).logits
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    (logits * weights * mask[:, cached:, None]).sum().backward()
    return logits.detach()[mask[:, cached:] == 1], {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("chunk", [1, 2**22])
@pytest.mark.parametrize("cached", [0, 3])
@pytest.mark.parametrize("key_value_heads", [1, 2, 6])
@pytest.mark.parametrize("mask", [torch.ones(3, 7, dtype=torch.long), PADDED_LEFT], ids=["whole", "padded"])
def test_gradients_are_those_of_fused_attention(monkeypatch, mask, key_value_heads, cached, chunk):
    monkeypatch.setattr(cpu_attention, "_CHUNK", chunk)
    model = make_model(key_value_heads).double()
    logits, gradients = logits_and_gradients(model, "sdpa", mask, cached=cached)
    made = own_attentions(monkeypatch)
    own_logits, own_gradients = logits_and_gradients(model, cpu_attention.register(), mask, cached=cached)
    assert len(made) == model.config.num_hidden_layers * (2 if cached else 1)
    torch.testing.assert_close(own_logits, logits, rtol=1e-9, atol=1e-9)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own_gradients[name], gradient, rtol=1e-9, atol=1e-9 * float(gradient.abs().max()))


def test_autocast_rounds_no_more_than_fused_attention(monkeypatch):
    model = make_model()
    _, exact = logits_and_gradients(model, "sdpa", PADDED_LEFT)
    _, fused = logits_and_gradients(model, "sdpa", PADDED_LEFT, autocast=True)
    made = own_attentions(monkeypatch)
    _, own = logits_and_gradients(model, cpu_attention.register(), PADDED_LEFT, autocast=True)
    assert {states.dtype for args in made for states in args[:3]} == {torch.bfloat16}
    for name, gradient in exact.items():
        assert 0 < (own[name] - gradient).norm() < 1.5 * (fused[name] - gradient).norm()


def test_queries_that_see_nothing_have_no_gradient():
    states = [torch.randn(2, heads, 3, 4, requires_grad=True) for heads in (2, 1, 1)]
    mask = torch.ones(2, 1, 3, 3, dtype=torch.bool).tril()
    mask[1, :, 0] = False
    output, _ = cpu_attention.attend(torch.nn.Module(), *states, mask)
    gradients = torch.autograd.grad(output.sum(), states)
    expected = [states_.detach().requires_grad_() for states_ in states]
    repeated = [expected[0], *(part.repeat(1, 2, 1, 1) for part in expected[1:])]
    fused = torch.nn.functional.scaled_dot_product_attention(*repeated, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(output, fused)
    for own, theirs in zip(gradients, torch.autograd.grad(fused.sum(), expected), strict=True):
        torch.testing.assert_close(own, theirs)
    assert not gradients[0][1, :, 0].any()


@pytest.mark.parametrize(
    "change",
    [
        {"no gradient": True},
        {"dropout": 0.5},
        {"attention_mask": torch.zeros(1, 1, 3, 3)},
        {"attention_mask": torch.ones(1, 2, 3, 3, dtype=torch.bool)},
        {"attention_mask": None, "is_causal": False},
        {"position_bias": torch.zeros(1, 2, 3, 3)},
    ],
    ids=str,
)
def test_what_does_not_fit_is_left_to_fused_attention(monkeypatch, change):
    made = own_attentions(monkeypatch)
    wanted = {"attention_mask": torch.ones(1, 1, 3, 3, dtype=torch.bool)} | change
    needs_gradient = not wanted.pop("no gradient", False)
    states = [torch.randn(1, 2, 3, 4, requires_grad=needs_gradient) for _ in range(3)]
    output, _ = cpu_attention.attend(torch.nn.Module(), *states, **wanted)
    assert output.shape == (1, 3, 2, 4)
    assert not made
    cpu_attention.attend(torch.nn.Module(), *(part.detach().requires_grad_() for part in states), None)
    assert made


@pytest.mark.parametrize(
    ("layers", "asked_for", "trains", "chosen"),
    [
        (1, None, True, "eager"),
        (3, None, True, cpu_attention.NAME),
        (3, None, False, "sdpa"),
        (3, "sdpa", True, "sdpa"),
        (3, "eager", True, "eager"),
    ],
)
def test_large_models_that_train_on_a_cpu_get_it(layers, asked_for, trains, chosen):
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    config = LlamaConfig(**SIZES | {"hidden_size": 516, "intermediate_size": 1024, "num_hidden_layers": layers})
    model = LlamaForCausalLM._from_config(config, attn_implementation=asked_for)
    assert (sum(parameter.numel() for parameter in model.parameters()) >= SMALL) == (layers > 1)
    try:
        said = prepare_cpu(model, asked_for, trains_in_bf16=trains)
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    assert model.config._attn_implementation == chosen
    assert ("attention" in said) == (asked_for is None and trains)
