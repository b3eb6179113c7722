"""What a TRL trainer asks of `generate`, and whether the sampler does all of it: what it does not do, it leaves to TRL."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, MinPLogitsWarper, TopKLogitsWarper

from sfpo.model.sampler import nucleus

_DONE = {"do_sample", "max_new_tokens", "eos_token_id", "temperature", "top_k", "top_p", "min_p"}
"""What the sampler does."""
_OF_NO_EFFECT = {
    # The length is that of new tokens; padding and beginnings are TRL's.
    "max_length", "pad_token_id", "bos_token_id", "decoder_start_token_id",
    # Of beams, assistants and compiled caches, which other settings would have to ask for.
    "early_stopping", "length_penalty", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold", "max_matching_ngram_size", "assistant_lookbehind", "target_lookbehind",
    "assistant_ensemble_weight", "is_assistant", "compile_config", "disable_compile",
    # Of what `generate` returns.
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "use_cache", "renormalize_logits", "transformers_version", "_from_model_config",
}  # fmt: skip
_NEUTRAL: dict[str, Any] = {
    "cache_implementation": "hybrid",  # which `generate` takes for none
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "guidance_scale": 1.0,
    "min_length": 0,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "num_return_sequences": 1,
    "remove_invalid_values": False,
    "repetition_penalty": 1.0,
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
    "bad_words_ids": [],
    "token_healing": False,
    "typical_p": 1.0,
    "use_mtp": False,
}
"""Values that ask for nothing, as None does."""


def asked_of_generate(trainer: Any) -> GenerationConfig:
    """The trainer's settings and, where these leave something open, those of the model's `generation_config`."""
    asked = copy.deepcopy(trainer.generation_config)
    asked.update(**trainer.model.generation_config.to_dict(), defaults_only=True)
    return asked


def does_all(asked: GenerationConfig) -> bool:
    """Whether the sampler does all that is asked of `generate`."""
    # Left open, these have defaults of their own there.
    if None in (asked.temperature, asked.top_k, asked.top_p):
        return False
    return all(
        name in _DONE | _OF_NO_EFFECT or value is None or (name in _NEUTRAL and value == _NEUTRAL[name])
        for name, value in vars(asked).items()
    )


def restriction(top_k: int, top_p: float, min_p: float | None) -> Callable[[Tensor], Tensor] | None:
    """What sets the logits (rows, V) of the tokens that must not be sampled to minus infinity; None where all may be."""
    steps: list[Callable[[Tensor], Tensor]] = []
    # transformers' warpers look at the logits alone, not at the tokens before them.
    if top_k:
        steps.append(partial(TopKLogitsWarper(top_k), None))
    if top_p < 1.0:
        steps.append(partial(nucleus, top_p=top_p))
    if min_p is not None:
        steps.append(partial(MinPLogitsWarper(min_p), None))
    if not steps:
        return None

    def restrict(logits: Tensor) -> Tensor:
        for step in steps:
            logits = step(logits)
        return logits

    return restrict
