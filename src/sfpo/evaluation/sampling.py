"""Completions sampled with transformers, with their lengths and whether they were cut off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sfpo.model import sampler
from sfpo.model.attention import obeys_any_mask
from sfpo.model.prefill import keeps_every_key


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; a temperature of 0 is greedy."""

    temperature: float
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Completion:
    """`tokens` counts the end of sequence; without one the completion was cut off."""

    text: str
    tokens: int
    cut_off: bool


def encode(
    tokenizer: Any, prompts: Sequence[str], chat_template_kwargs: dict[str, Any] | None = None
) -> list[list[int]]:
    """Token ids of text prompts, as turns of a conversation where the tokenizer has a chat template."""
    if tokenizer.chat_template is None:
        ids: list[list[int]] = tokenizer(list(prompts))["input_ids"]
    else:
        ids = tokenizer.apply_chat_template(
            [[{"role": "user", "content": prompt}] for prompt in prompts],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **(chat_template_kwargs or {}),
        )["input_ids"]
    # A prompt without any token of the vocabulary still needs one to start from.
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [one or [start] for one in ids]


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
) -> list[Completion]:
    """One completion for each prompt, with the caller's random numbers; a temperature of 0 is greedy.

    What the model's own generation configuration prefers (top-k, penalties) is switched off.
    """
    # A base model's own end may differ from the one that its tokenizer's chat template writes.
    own = model.generation_config.eos_token_id
    ends = sorted({*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None})
    compactly = model.device.type == "cpu" and keeps_every_key(model.config) and obeys_any_mask(model.config)
    draw = _compactly if compactly else _with_generate
    completions = draw(model, list(prompts), max_new_tokens, ends, temperature, top_p)
    texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
    return [Completion(text, len(ids), ids[-1] not in ends) for text, ids in zip(texts, completions, strict=True)]


def _compactly(
    model: Any, prompts: list[list[int]], max_new_tokens: int, ends: list[int], temperature: float, top_p: float
) -> list[list[int]]:
    """With the sampler of the rollouts: the samples of a problem share its encoding."""
    return sampler.sample(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        end_ids=ends,
        temperature=temperature or 1.0,
        restrict=(lambda logits: sampler.nucleus(logits, top_p)) if top_p < 1.0 else None,
        do_sample=temperature > 0,
    ).completion_ids


@torch.no_grad()
def _with_generate(
    model: Any, prompts: list[list[int]], max_new_tokens: int, ends: list[int], temperature: float, top_p: float
) -> list[list[int]]:
    """For models whose layers forget (sliding windows, recurrence), and for accelerators."""
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    drawn = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    output = model.generate(
        input_ids=torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts], device=device),
        attention_mask=torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=device),
        **(drawn if temperature > 0 else {"do_sample": False}),
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=0,
        disable_compile=True,
    )[:, longest:]
    return [_until_end(ids, ends) for ids in output.tolist()]


def _until_end(ids: list[int], ends: list[int]) -> list[int]:
    """Up to and with the first end; what follows is padding."""
    return next((ids[: position + 1] for position, token in enumerate(ids) if token in ends), ids)
