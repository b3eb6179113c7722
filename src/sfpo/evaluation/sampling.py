"""Completions sampled with transformers, with their lengths and whether they were cut off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from sfpo.model import sampler
from sfpo.model.capabilities import Capabilities


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
    uniforms: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
) -> list[Completion]:
    """One completion for each prompt; a temperature of 0 is greedy.

    What the model's own generation configuration prefers (top-k, penalties) is switched off.

    Args:
        uniforms: (prompts, at least max_new_tokens) random numbers in [0, 1) that decide the tokens.
    """
    # A base model's own end may differ from the one that its tokenizer's chat template writes.
    own = model.generation_config.eos_token_id
    ends = sorted({*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None})
    allowed = Capabilities.of(model)
    fits = allowed.shares_beginnings and allowed.fit(max(map(len, prompts)) + max_new_tokens)
    # Our sampler waits for the device at every token. Nothing has been measured on an accelerator yet.
    draw = _compactly if fits and model.device.type == "cpu" else _with_generate
    completions = draw(model, list(prompts), uniforms, max_new_tokens, ends, temperature, top_p)
    texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
    return [Completion(text, len(ids), ids[-1] not in ends) for text, ids in zip(texts, completions, strict=True)]


def _compactly(
    model: Any,
    prompts: list[list[int]],
    uniforms: Tensor,
    max_new_tokens: int,
    ends: list[int],
    temperature: float,
    top_p: float,
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
        uniforms=uniforms,
    ).completion_ids


@torch.no_grad()
def _with_generate(
    model: Any,
    prompts: list[list[int]],
    uniforms: Tensor,
    max_new_tokens: int,
    ends: list[int],
    temperature: float,
    top_p: float,
) -> list[list[int]]:
    """For accelerators, and models whose prompts cannot be shared: with sliding windows, recurrence and the like."""
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    drawn = [_Drawn(uniforms.to(device), longest, temperature, top_p)] if temperature > 0 else []
    output = model.generate(
        input_ids=torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts], device=device),
        attention_mask=torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=device),
        # `generate` would draw from one stream for all.
        do_sample=False,
        logits_processor=drawn,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=0,
        disable_compile=True,
    )[:, longest:]
    return [_until_end(ids, ends) for ids in output.tolist()]


class _Drawn(LogitsProcessor):  # type: ignore[misc]
    """Leaves only the token that a row's own random numbers choose."""

    def __init__(self, uniforms: Tensor, start: int, temperature: float, top_p: float) -> None:
        self._uniforms, self._start, self._temperature, self._top_p = uniforms, start, temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores.float() / self._temperature
        if self._top_p < 1.0:
            logits = sampler.nucleus(logits, self._top_p)
        chosen = sampler.draw(logits.softmax(-1), self._uniforms[:, input_ids.shape[1] - self._start])
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen[:, None], 0.0)


def _until_end(ids: list[int], ends: list[int]) -> list[int]:
    """Up to and with the first end; what follows is padding."""
    return next((ids[: position + 1] for position, token in enumerate(ids) if token in ends), ids)
