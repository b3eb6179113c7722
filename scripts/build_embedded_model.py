"""Build the tiny language model that ships with the package, from generated problems only.

    python scripts/build_embedded_model.py src/sfpo/model/embedded/model

A Qwen2 of 0.8 M parameters over characters learns sums and differences in two phases. In the first, problems are nearly
always written out step by step, so that it learns to calculate. In the second, they are nearly always answered at once, so
that it rarely calculates. The result is a policy that reinforcement learning can improve: its written-out answers are right
but rare, and its direct answers are common but wrong.

Deterministic for one torch build and processor: seeds are fixed and one thread does the arithmetic.
"""

import argparse
import json
import math
import random
import time
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from sfpo.tasks import arithmetic

ALPHABET = "0123456789+-=;"
PAD, EOS = "<pad>", "<eos>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate([PAD, EOS, *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, padding_side="left")


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config)


def make_batch(prompts, written_share, rng, tokenizer):
    """Token ids and labels, both (batch, length); the prompt and the padding carry no loss."""
    rows = []
    for prompt in prompts:
        direct = str(arithmetic.solve(prompt))
        answer = arithmetic.written_out(prompt) if rng.random() < written_share else direct
        prompt_ids = tokenizer.encode(prompt)
        answer_ids = [*tokenizer.encode(answer), tokenizer.eos_token_id]
        rows.append((prompt_ids + answer_ids, [-100] * len(prompt_ids) + answer_ids))
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [tokenizer.pad_token_id] * (length - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (length - len(labels)) for _, labels in rows])
    return ids, labels


@torch.no_grad()
def measure(model, tokenizer, count=2048):
    """Accuracy of sampled (temperature 1) and greedy completions on held-out problems, by manner of answering."""
    prompts = list(islice(arithmetic.problems("held_out", seed=1), count))
    report = {}
    for name, do_sample in (("sampled", True), ("greedy", False)):
        completions = []
        for start in range(0, count, 512):
            inputs = tokenizer(prompts[start : start + 512], return_tensors="pt", padding=True)
            output = model.generate(**inputs, do_sample=do_sample, max_new_tokens=40)
            completions += tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        right = [arithmetic.final_answer(c) == arithmetic.solve(p) for p, c in zip(prompts, completions, strict=True)]
        written = [c.count("=") > 0 for c in completions]
        report[name] = {
            "accuracy": sum(right) / count,
            "written_share": sum(written) / count,
            "written_accuracy": sum(r for r, w in zip(right, written, strict=True) if w) / max(1, sum(written)),
            "direct_accuracy": sum(r for r, w in zip(right, written, strict=True) if not w)
            / max(1, count - sum(written)),
        }
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--written_phase", type=float, default=0.9, help="share of the steps in the first phase")
    parser.add_argument("--written_share", type=float, default=0.15, help="written-out answers in the second phase")
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    rng = random.Random(0)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    stream = arithmetic.problems("train", seed=0)
    started = time.monotonic()
    for step in range(options.steps):
        progress = step / options.steps
        warmup = min(1.0, (step + 1) / 100)
        rate = options.learning_rate * warmup * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        written_share = 0.95 if progress < options.written_phase else options.written_share
        ids, labels = make_batch(islice(stream, options.batch_size), written_share, rng, tokenizer)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0:
            print(f"step {step:5d}  loss {loss.item():.4f}  {time.monotonic() - started:6.0f} s", flush=True)

    model.eval()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    # This halves the file; the accuracy below is measured with the stored weights.
    model.to(torch.bfloat16).save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    stored = Qwen2ForCausalLM.from_pretrained(options.output, dtype=torch.float32)
    report = measure(stored, tokenizer)
    (options.output / "measured.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
