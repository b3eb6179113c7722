"""GRPO by hand with the slow-fast update: no trainer, no TRL, one file to copy.

    python examples/minimal_loop.py            # SFPO
    python examples/minimal_loop.py --alpha 0  # the same loop as plain GRPO

Trains the model that ships with sfpo on sums and differences. Comments mark the only lines that SFPO adds.
Shapes: B completions in a batch (prompts x group), P prompt tokens, C completion tokens.
"""

import argparse
from itertools import islice

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sfpo import EntropyGate, SlowFast
from sfpo.model.embedded import MODEL_PATH
from sfpo.tasks import arithmetic

PROMPTS, GROUP, MAX_NEW_TOKENS = 16, 8, 40
CLIP = 0.2


@torch.no_grad()
def sample(model, tokenizer, prompts):
    """Token ids (B, P+C), and the mask of completion tokens up to the first end of sequence (B, C)."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    ids = model.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=MAX_NEW_TOKENS, disable_compile=True)
    completion = ids[:, inputs["input_ids"].shape[1] :]
    ended = (completion == tokenizer.eos_token_id).int()
    mask = (ended.cumsum(1) - ended) == 0  # tokens before the end of sequence, and the end itself
    return ids, mask


def score(model, tokenizer, ids, mask):
    """Log-probability and entropy (nats) of every completion token, both (B, C)."""
    completion_length = mask.shape[1]
    attention = torch.ones_like(ids)
    attention[:, :-completion_length] = ids[:, :-completion_length] != tokenizer.pad_token_id
    attention[:, -completion_length:] = mask
    logits = model(ids, attention_mask=attention).logits[:, -completion_length - 1 : -1]
    log_probs = logits.log_softmax(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.gather(-1, ids[:, -completion_length:, None]).squeeze(-1), entropy


def grpo_loss(logps, old_logps, advantages, mask):
    """The clipped objective, averaged over completion tokens (DAPO's normalisation)."""
    ratio = (logps - old_logps).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages)
    return -(gain * mask).sum() / mask.sum()


def rewards_of(tokenizer, ids, mask, prompts):
    completion = ids[:, -mask.shape[1] :].masked_fill(~mask, tokenizer.pad_token_id)
    texts = tokenizer.batch_decode(completion, skip_special_tokens=True)
    right = [arithmetic.final_answer(t) == arithmetic.solve(p) for t, p in zip(texts, prompts, strict=True)]
    return torch.tensor(right, dtype=torch.float32)


def group_advantages(rewards):
    """(B,) rewards to (B, 1) advantages, each relative to its own group of completions."""
    groups = rewards.view(-1, GROUP)
    advantages = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    return advantages.view(-1, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--inner_steps", type=int, default=3)
    parser.add_argument("--alpha", type=float, default=0.8)
    parser.add_argument("--learning_rate", type=float, default=3e-5)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # two threads are slower on matrices this small
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    model = AutoModelForCausalLM.from_pretrained(MODEL_PATH, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    problems = arithmetic.problems("train", seed=0)

    slow_fast = SlowFast(model.parameters(), options.inner_steps, options.alpha)  # SFPO
    gate = EntropyGate(options.alpha)  # SFPO

    for step in range(1, options.steps + 1):
        prompts = [prompt for prompt in islice(problems, PROMPTS) for _ in range(GROUP)]
        ids, mask = sample(model, tokenizer, prompts)
        rewards = rewards_of(tokenizer, ids, mask, prompts)
        advantages = group_advantages(rewards)
        with torch.no_grad():  # π_old, against which every pass measures its ratio, and H_s for the gate
            old_logps, entropy = score(model, tokenizer, ids, mask)
            entropy = (entropy * mask).sum() / mask.sum()

        def update(ids=ids, mask=mask, advantages=advantages, old_logps=old_logps):
            logps, _ = score(model, tokenizer, ids, mask)
            loss = grpo_loss(logps, old_logps, advantages, mask)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss.item()

        slow_fast.step(update, alpha=gate.update(entropy.item()))  # SFPO; plain GRPO calls update() here

        print(
            f"step {step:3d}  reward {rewards.mean():.3f}  length {mask.sum(1).float().mean():5.1f}  "
            f"entropy {entropy:.3f}  drift {slow_fast.report.drift:.1e}  passes {len(slow_fast.report.passes)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
