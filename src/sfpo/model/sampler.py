"""Completions from a transformers model, for machines where `generate` is the slow part of a step.

It differs from `generate` in four ways:

- It encodes each distinct prompt once for all its completions, and the common beginning of all prompts once.
- Sequences that have ended leave the batch.
- It writes keys and values into buffers instead of concatenating them at every token. Attention gets the whole buffers with
  their empty part masked, because matrix products would copy a slice of them.
- It returns the log-probability of every sampled token and the entropy of its distribution, so that the policy need not run
  again to compute these.

Shapes: R completions, U distinct prompts, P prompt tokens (padded left), V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from sfpo.model.prefill import cost_of_forward, encode_prompts

_COMPACT_BELOW = 0.8
"""Ended sequences leave once less than this share of the batch goes on, because leaving copies the remaining ones."""
_LEAST_ROOM, _ROOM_SHARE = 16, 0.25
"""Buffers grow by at least this many tokens and this share: growing copies them, but empty room slows attention."""
_LARGE_VOCABULARY = 4096
"""Vocabulary size above which a running sum is cheaper than `torch.multinomial`, which draws a random number per entry."""
_NUCLEUS_CANDIDATES = 512
"""How many of the likeliest tokens the top-p search examines first."""


@dataclass(frozen=True)
class Sampled:
    """One entry per completion, each a list with one value per token; the end of sequence is a token of it.

    Attributes:
        log_probs, entropies: in nats, of the model's distribution at the temperature, whatever `restrict` leaves of it.
    """

    completion_ids: list[list[int]]
    log_probs: list[list[float]]
    entropies: list[list[float]]


@torch.no_grad()
def sample(
    model: Any,
    prompt_ids: list[list[int]],
    *,
    max_new_tokens: int,
    end_ids: list[int],
    temperature: float = 1.0,
    restrict: Callable[[Tensor], Tensor] | None = None,
    do_sample: bool = True,
    uniforms: Tensor | None = None,
) -> Sampled:
    """Sample one completion for every entry of `prompt_ids`; equal prompts share their encoding.

    Args:
        model: a causal language model that `shares_beginnings` (`sfpo.model.capabilities`).
        max_new_tokens: length at which a completion is cut off.
        end_ids: tokens that end a completion.
        temperature: divides the logits, above 0.
        restrict: sets the logits (rows, V) of tokens that must not be sampled to minus infinity, as top-k does; entropies
            are those before it.
        do_sample: False for the most likely token each time.
        uniforms: (R, at least max_new_tokens) random numbers in [0, 1) that decide the tokens, so that a completion does not
            depend on the others; None to draw from torch's own stream.
    """
    was_training = model.training
    model.eval()  # training mode drops the cache under gradient checkpointing
    try:
        return _Sampling(model, prompt_ids, max_new_tokens, end_ids, temperature, restrict, do_sample, uniforms).run()
    finally:
        model.train(was_training)


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits (rows, V) with every token at minus infinity except the likeliest ones, which together reach `top_p`.

    Of several equally likely tokens, as logits in bf16 often have, no more stay than are needed to reach it.
    """
    probs = logits.softmax(-1)
    # Sorting a whole vocabulary for every token costs more than a small model's forward, and is hardly ever needed.
    for candidates in (min(_NUCLEUS_CANDIDATES, probs.shape[-1]), probs.shape[-1]):
        likeliest, tokens = probs.topk(candidates)
        before = likeliest.cumsum(-1) - likeliest
        if candidates == probs.shape[-1] or bool((before[:, -1] >= top_p).all()):
            break
    dropped = torch.ones_like(probs, dtype=torch.bool).scatter(-1, tokens, before >= top_p)
    return logits.masked_fill(dropped, -torch.inf)


def draw(probs: Tensor, uniforms: Tensor | None = None) -> Tensor:
    """Sample one entry (rows,) from each distribution (rows, V), with these random numbers (rows,) or torch's own."""
    if uniforms is None and probs.shape[-1] < _LARGE_VOCABULARY:
        return torch.multinomial(probs, 1)[:, 0]
    # Double precision, because there the sum over a whole vocabulary still includes its rare tokens.
    below = probs.double().cumsum(-1)
    if uniforms is None:
        uniforms = torch.rand(len(probs), dtype=torch.float64, device=probs.device)
    return torch.searchsorted(below, below[:, -1:] * uniforms[:, None], right=True)[:, 0]


def tokens_per_look(device: torch.device) -> int:
    """After how many tokens the sampler looks which sequences have ended: on an accelerator a look waits for its queue."""
    return 1 if device.type == "cpu" else 8


class _Sampling:
    def __init__(
        self,
        model: Any,
        prompt_ids: list[list[int]],
        max_new_tokens: int,
        end_ids: list[int],
        temperature: float,
        restrict: Callable[[Tensor], Tensor] | None,
        do_sample: bool,
        uniforms: Tensor | None,
    ) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._max_new_tokens = max_new_tokens
        self._tokens_per_look = tokens_per_look(self._device)
        self._ends = torch.tensor(end_ids, device=self._device)
        self._temperature = temperature
        self._restrict = restrict
        self._do_sample = do_sample
        self._uniforms = None if uniforms is None else uniforms.to(self._device)
        self._count = len(prompt_ids)
        self._prompts = list(dict.fromkeys(map(tuple, prompt_ids)))
        number = {prompt: index for index, prompt in enumerate(self._prompts)}
        self._prompt_of_row = torch.tensor([number[tuple(ids)] for ids in prompt_ids], device=self._device)

    def run(self) -> Sampled:
        logits, cache, seen = self._encode_prompts()
        tokens = torch.zeros(self._count, self._max_new_tokens, dtype=torch.long, device=self._device)
        log_probs, entropies = torch.zeros(2, self._count, self._max_new_tokens, device=self._device)
        lengths = torch.full((self._count,), self._max_new_tokens, device=self._device)
        rows = torch.arange(self._count, device=self._device)  # the completion in each row of the batch
        going = torch.ones_like(rows, dtype=torch.bool)
        length = seen.shape[1]
        for position in range(self._max_new_tokens):
            uniforms = None if self._uniforms is None else self._uniforms[rows, position]
            chosen, log_prob, entropy = self._choose(logits, uniforms)
            tokens[rows, position] = chosen
            log_probs[rows, position], entropies[rows, position] = log_prob, entropy
            ended = going & torch.isin(chosen, self._ends)
            lengths[rows] = lengths[rows].masked_fill(ended, position + 1)
            going &= ~ended
            if position == self._max_new_tokens - 1:
                break
            left = len(rows) if (position + 1) % self._tokens_per_look else int(going.sum())
            if left == 0:
                break
            if left < _COMPACT_BELOW * len(rows):
                kept = going.nonzero()[:, 0]
                rows, chosen, seen, going = rows[kept], chosen[kept], seen[kept], going[kept]
                cache.batch_select_indices(kept)
            if length == seen.shape[1]:
                room = min(max(_LEAST_ROOM, int(_ROOM_SHARE * length)), self._max_new_tokens - 1 - position)
                seen = nn.functional.pad(seen, (0, room))
                for layer in cache.layers:
                    layer.grow(room)
            seen[:, length] = 1
            length += 1
            logits = self._model(
                input_ids=chosen[:, None],
                attention_mask=seen,
                position_ids=seen.sum(1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        ends = lengths.tolist()
        return Sampled(
            *(
                [row[:end] for row, end in zip(of_all.tolist(), ends, strict=True)]
                for of_all in (tokens, log_probs, entropies)
            )
        )

    def _encode_prompts(self) -> tuple[Tensor, Cache, Tensor]:
        """Logits (R, V) of every completion's first token, the cache, and the mask (R, P) of prompt tokens."""
        longest = max(map(len, self._prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in self._prompts], device=self._device)
        seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in self._prompts], device=self._device)
        encoded = encode_prompts(self._model, ids, seen, cost_of_forward(self._device))
        row = self._prompt_of_row
        layers: list[Any] = [_BufferedLayer(keys[row], values[row]) for keys, values in encoded.layers]
        return encoded.logits[row], Cache(layers=layers), encoded.mask[row]

    def _choose(self, logits: Tensor, uniforms: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """A token for each row of logits (rows, V), its log-probability and the entropy, all (rows,)."""
        logits = logits.float() / self._temperature
        log_probs = logits.log_softmax(-1)
        probs = log_probs.exp()
        entropy = -(probs * log_probs).sum(-1)
        if self._restrict is not None:
            probs = self._restrict(logits).softmax(-1)
        chosen = draw(probs, uniforms) if self._do_sample else probs.argmax(-1)
        return chosen, log_probs.gather(-1, chosen[:, None])[:, 0], entropy


class _BufferedLayer(DynamicLayer):  # type: ignore[misc]
    """Dense buffers of keys and values, passed to attention whole: a mask of the same length must hide their empty end."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self._length = keys.shape[-2]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def grow(self, room: int) -> None:
        # Fill with zeros: masked entries are multiplied by 0, and uninitialised memory may hold infinities.
        self.keys, self.values = (nn.functional.pad(states, (0, 0, 0, room)) for states in (self.keys, self.values))

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        start, self._length = self._length, self._length + key_states.shape[-2]
        self.keys[:, :, start : self._length] = key_states
        self.values[:, :, start : self._length] = value_states
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self._length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.keys.shape[-2], 0
