"""Prompts encoded with their common beginning once, against each prompt in a forward of its own."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from sfpo.model import prefill
from sfpo.model.prefill import cost_of_forward, encode_prompts
from sfpo.model.sampler import sample

BEGINNING = [5, 3, 9, 4, 11, 2, 7, 6, 13, 8]
ENDINGS = [[12], [3, 4], [6, 6, 6, 2, 9], [5, 14]]


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture
def forwards_are_cheap(monkeypatch):
    monkeypatch.setitem(prefill._FORWARD_COST, "cpu", 0)


def encode(model, prompts):
    return encode_prompts(model, *padded(prompts), cost_of_forward(model.device))


def padded(prompts):
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


def tokens_seen(model, action):
    seen = []
    hook = model.model.layers[0].mlp.register_forward_hook(
        lambda module, args, output: seen.append(args[0].shape[0] * args[0].shape[1])
    )
    result = action()
    hook.remove()
    return result, seen


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("prompts", "seen"),
    [
        ([BEGINNING + ending for ending in ENDINGS], [10, 4 * 5]),
        # Every prompt keeps a token of its own, from which the next one is predicted.
        ([BEGINNING, *(BEGINNING + ending for ending in ENDINGS)], [9, 5 * 6]),
        # Too short a beginning, or none.
        ([BEGINNING[:7] + ending for ending in ENDINGS], [4 * 12]),
        ([[12, *BEGINNING], [13, *BEGINNING]], [2 * 11]),
        ([BEGINNING], [10]),
    ],
    ids=["common", "one is the beginning", "short", "none", "alone"],
)
def test_prompts_are_encoded_as_each_alone(model, forwards_are_cheap, attention, prompts, seen):
    model.set_attn_implementation(attention)
    encoded, counted = tokens_seen(model, lambda: encode(model, prompts))
    assert counted == seen
    for row, prompt in enumerate(prompts):
        alone = model(torch.tensor([prompt]), use_cache=True)
        torch.testing.assert_close(encoded.logits[row], alone.logits[0, -1], rtol=1e-4, atol=1e-5)
        for ours, theirs in zip(encoded.layers, alone.past_key_values.layers, strict=True):
            for states, expected in zip(ours, (theirs.keys, theirs.values), strict=True):
                of_tokens = states[row][:, encoded.mask[row] == 1]
                torch.testing.assert_close(of_tokens, expected[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_head_reads_contiguous_states(model):
    """A CPU's matmul copies a frozen head for each row of others."""
    contiguous = []
    hook = model.lm_head.register_forward_pre_hook(lambda module, args: contiguous.append(args[0].is_contiguous()))
    encode(model, ENDINGS)
    hook.remove()
    assert contiguous == [True]


@torch.no_grad()
def test_a_forward_must_save_more_than_it_costs(model):
    prompts = [[*BEGINNING, first, second] for first in range(2, 12) for second in (3, 4)]
    _, few = tokens_seen(model, lambda: encode(model, prompts[:5]))
    _, many = tokens_seen(model, lambda: encode(model, prompts))
    assert few == [5 * 12]
    assert many == [10, 20 * 2]


def test_sampling_after_a_common_beginning_equals_generate(model, forwards_are_cheap):
    prompts = [BEGINNING + ending for ending in ENDINGS for _ in range(2)]
    ours = sample(model, prompts, max_new_tokens=12, end_ids=[1], do_sample=False).completion_ids
    for prompt, completion in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": 1, "pad_token_id": 0}
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert completion == theirs[0, len(prompt) :].tolist()
