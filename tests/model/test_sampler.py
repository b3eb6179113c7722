"""The sampler against transformers' `generate` and against the model's own probabilities."""

import pytest
import torch
from transformers import AutoModelForCausalLM, TopPLogitsWarper

from sfpo.model import sampler
from sfpo.model.embedded import MODEL_PATH
from sfpo.model.sampler import nucleus, sample

PROMPTS = [[2, 12, 3, 14], [5, 6, 12, 7, 8, 13, 2, 14], [9, 14]]
ENDS = [1]


@pytest.fixture(scope="module")
def embedded():
    return AutoModelForCausalLM.from_pretrained(MODEL_PATH, dtype=torch.float32)


@pytest.fixture(scope="module")
def random_model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def test_greedy_equals_generate(embedded):
    prompts = [prompt for prompt in PROMPTS for _ in range(2)]
    ours = sample(embedded, prompts, max_new_tokens=20, end_ids=ENDS, do_sample=False).completion_ids
    for prompt, completion in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        theirs = embedded.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)
        assert completion == theirs[0, len(prompt) :].tolist()
    assert {len(completion) for completion in ours} != {20}  # some ended and left the batch


@pytest.mark.parametrize("do_sample", [True, False])
def test_sequences_that_are_looked_at_rarely_are_the_same(embedded, monkeypatch, do_sample):
    prompts = [prompt for prompt in PROMPTS for _ in range(4)]
    settings = {"max_new_tokens": 21, "end_ids": ENDS, "do_sample": do_sample}
    uniforms = torch.rand(len(prompts), 21, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    often = sample(embedded, prompts, uniforms=uniforms, **settings)
    monkeypatch.setattr(sampler, "tokens_per_look", lambda device: 8)
    rarely = sample(embedded, prompts, uniforms=uniforms, **settings)
    assert rarely.completion_ids == often.completion_ids
    assert len({len(ids) for ids in often.completion_ids}) > 1  # they end at different positions
    for ours, theirs in zip(rarely.log_probs, often.log_probs, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-5)


def reference(model, prompt, completion, temperature):
    """Log-probability and entropy of every token of one completion, from one plain forward."""
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].float() / temperature
    log_probs = logits.log_softmax(-1)
    return log_probs, -(log_probs.exp() * log_probs).sum(-1)


@torch.no_grad()
def test_entropies_are_those_of_the_sampled_distributions(random_model):
    torch.manual_seed(0)
    prompts = [prompt for prompt in PROMPTS for _ in range(8)]
    sampled = sample(random_model, prompts, max_new_tokens=12, end_ids=ENDS, temperature=0.8)
    lengths = [len(ids) for ids in sampled.completion_ids]
    assert min(lengths) < 12 == max(lengths)
    columns = sampled.completion_ids, sampled.log_probs, sampled.entropies
    for prompt, ids, log_probs, entropies in zip(prompts, *columns, strict=True):
        assert 1 not in ids[:-1]
        of_all, expected = reference(random_model, prompt, ids, 0.8)
        torch.testing.assert_close(torch.tensor(entropies), expected, rtol=1e-4, atol=1e-5)
        of_chosen = of_all.gather(-1, torch.tensor(ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(log_probs), of_chosen, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_tokens_are_sampled_from_the_policy(random_model):
    """Frequencies of the first two tokens against the model's own probabilities (chi-square, 0.1 % level)."""
    torch.manual_seed(0)
    count, prompt = 20_000, PROMPTS[1]
    ids = sample(random_model, [prompt] * count, max_new_tokens=2, end_ids=ENDS).completion_ids
    first, _ = reference(random_model, prompt, [0], 1.0)
    assert_frequencies([row[0] for row in ids], first[0].exp())
    commonest = int(first[0].argmax())
    second, _ = reference(random_model, prompt, [commonest, 0], 1.0)
    assert_frequencies([row[1] for row in ids if row[0] == commonest], second[1].exp())


@pytest.mark.parametrize("vocabulary", [30, 20_000])
def test_draws_follow_their_distributions(vocabulary):
    torch.manual_seed(0)
    count = 20_000
    probs = torch.zeros(2, vocabulary)
    entries = torch.arange(0, vocabulary, max(1, vocabulary // 30))[:30]
    probs[0, entries] = torch.rand(len(entries)).softmax(-1)
    probs[1, entries[3]] = 1.0
    chosen = torch.stack([sampler.draw(probs) for _ in range(count)])
    assert (chosen[:, 1] == entries[3]).all()
    assert_frequencies(chosen[:, 0].tolist(), probs[0])


def assert_frequencies(tokens, probabilities):
    counts = torch.bincount(torch.tensor(tokens), minlength=len(probabilities)).float()
    expected = probabilities * len(tokens)
    often = expected >= 5
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    expected = torch.cat([expected[often], expected[~often].sum().clamp(min=1e-9)[None]])
    statistic = ((observed - expected) ** 2 / expected.clamp(min=1.0)).sum().item()
    degrees = len(observed) - 1
    assert degrees >= 5
    # Wilson-Hilferty approximation of the 99.9 % point.
    limit = degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3
    assert statistic < limit


def test_restriction_is_obeyed_and_not_counted(random_model):
    torch.manual_seed(0)

    def only_two_tokens(logits):
        return logits.index_fill(-1, torch.tensor([t for t in range(logits.shape[-1]) if t not in (4, 5)]), -torch.inf)

    sampled = sample(random_model, PROMPTS * 4, max_new_tokens=6, end_ids=ENDS, restrict=only_two_tokens)
    assert {token for ids in sampled.completion_ids for token in ids} == {4, 5}
    assert max(e for row in sampled.entropies for e in row) > torch.tensor(2.0).log()  # of the whole vocabulary


@pytest.mark.parametrize("top_p", [0.05, 0.7, 0.95, 0.9999])
@pytest.mark.parametrize("candidates", [4, 512])
def test_nucleus_is_that_of_transformers(monkeypatch, top_p, candidates):
    monkeypatch.setattr(sampler, "_NUCLEUS_CANDIDATES", candidates)
    logits = 3 * torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nucleus(logits, top_p), TopPLogitsWarper(top_p)(None, logits))


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("candidates", [4, 512])
def test_no_more_equally_likely_tokens_stay_than_are_needed(monkeypatch, top_p, candidates):
    """Logits in bf16 have many equals; which of them stay is open, how many is not."""
    monkeypatch.setattr(sampler, "_NUCLEUS_CANDIDATES", candidates)
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(0)).mul(4).round().div(4)
    assert max(len(row.unique()) for row in logits) < 30
    ours, theirs = nucleus(logits, top_p), TopPLogitsWarper(top_p)(None, logits)
    assert torch.equal(ours.sort(-1).values, theirs.sort(-1).values)


def test_prompts_are_encoded_once(random_model):
    seen = []
    hook = random_model.model.layers[0].mlp.register_forward_hook(lambda m, args, out: seen.append(args[0].shape[:2]))
    torch.manual_seed(0)
    sample(random_model, [p for p in PROMPTS for _ in range(10)], max_new_tokens=12, end_ids=ENDS)
    hook.remove()
    assert seen[0] == (3, 8)
    batch = [shape[0] for shape in seen[1:]]
    assert batch[0] <= 30
    assert batch[-1] < batch[0]  # ended sequences left
    assert all(shape[1] == 1 for shape in seen[1:])


def test_training_mode_is_put_back(random_model):
    random_model.train()
    sample(random_model, PROMPTS, max_new_tokens=2, end_ids=ENDS)
    assert random_model.training
    random_model.eval()
    sample(random_model, PROMPTS, max_new_tokens=2, end_ids=ENDS)
    assert not random_model.training
