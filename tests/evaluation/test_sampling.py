"""Completions that depend on their own random numbers alone."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from sfpo.evaluation.sampling import _compactly, _with_generate

PROMPTS = [[2, 12, 3, 14], [5, 6, 12, 7, 8, 13, 2, 14], [9, 14], [2, 12, 3, 14]] * 4
SETTINGS = {"max_new_tokens": 9, "ends": [1], "temperature": 0.9}


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def uniforms():
    return torch.rand(len(PROMPTS), 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_both_ways_of_sampling_make_the_same_of_the_same_numbers(model, uniforms, top_p):
    ours = _compactly(model, PROMPTS, uniforms, **SETTINGS, top_p=top_p)
    assert ours == _with_generate(model, PROMPTS, uniforms, **SETTINGS, top_p=top_p)
    assert ours[0] != ours[3]  # the same prompt, other numbers
    assert len({len(ids) for ids in ours}) > 1


@pytest.mark.parametrize("sample", [_compactly, _with_generate])
def test_the_other_rows_do_not_matter(model, uniforms, sample):
    whole = sample(model, PROMPTS, uniforms, **SETTINGS, top_p=0.8)
    assert whole[5:9] == sample(model, PROMPTS[5:9], uniforms[5:9], **SETTINGS, top_p=0.8)


def test_tokens_are_drawn_from_the_policy(model):
    count, prompt = 20_000, PROMPTS[1]
    uniforms = torch.rand(count, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = _compactly(model, [prompt] * count, uniforms, 1, [1], 1.0, 1.0)
    with torch.no_grad():
        probs = model(torch.tensor([prompt])).logits[0, -1].float().softmax(-1)
    seen = torch.bincount(torch.tensor(drawn)[:, 0], minlength=len(probs)) / count
    assert (seen - probs).abs().max() < 0.015
