"""Keys and values of prompts. The tokens that all prompts begin with, such as a system message, are encoded once.

Shapes: U distinct prompts, P tokens of the longest (padded left), V vocabulary.
"""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

_FORWARD_COST = {"cpu": 160}
"""Tokens that an additional forward must save to pay off, by device; on other devices its launches cost more."""
_FORWARD_COST_ELSEWHERE = 1024
_LEAST_BEGINNING = 8
"""Tokens below which a common beginning does not justify a separate forward, which reads all weights."""


@dataclass(frozen=True)
class Prefill:
    """Prompts, encoded by a model.

    Attributes:
        logits: (U, V) of the token after each prompt.
        layers: keys and values of each layer, both (U, heads, P, size).
        mask: (U, P), 1 at tokens and 0 at padding, which may lie anywhere but at the end.
    """

    logits: Tensor
    layers: list[tuple[Tensor, Tensor]]
    mask: Tensor


def encode_prompts(model: Any, ids: Tensor, mask: Tensor, forward_cost: int) -> Prefill:
    """Run prompts (U, P), padded left, through a model that `shares_beginnings` (`sfpo.model.capabilities`).

    Args:
        forward_cost: how many tokens a forward for the common beginning must save.
    """
    common = _common_beginning(ids, mask, forward_cost)
    cache = None
    if common:
        beginning = model(
            input_ids=ids[:1][mask[:1] == 1][None, :common],
            attention_mask=mask.new_ones(1, common),
            use_cache=True,
            logits_to_keep=1,
        ).past_key_values
        count = (len(ids), -1, -1, -1)
        cache = DynamicCache(
            ddp_cache_data=[(layer.keys.expand(count), layer.values.expand(count)) for layer in beginning.layers]
        )
        rest = mask * (mask.cumsum(1) > common)
        ids, mask = ids[:, common:], torch.cat([mask.new_ones(len(ids), common), rest[:, common:]], dim=1)
    # The model's own forward computes at least one logit. An index selects it rather than a count, because the count's slice
    # is not contiguous, and a CPU would then copy a frozen head for every prompt.
    last = torch.tensor([-1], device=ids.device)
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions(mask)[:, -ids.shape[1] :],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=last,
    )
    layers = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
    return Prefill(output.logits[:, -1], layers, mask)


def positions(mask: Tensor) -> Tensor:
    """Position of each token in its row, not counting padding; (rows, tokens)."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def cost_of_forward(device: torch.device) -> int:
    """The fixed cost of one more forward, about, as a number of tokens."""
    return _FORWARD_COST.get(device.type, _FORWARD_COST_ELSEWHERE)


def _common_beginning(ids: Tensor, mask: Tensor, forward_cost: int) -> int:
    """How many first tokens to encode once for all prompts; every prompt keeps at least one. 0 if it would not pay off."""
    prompts = [row[seen].tolist() for row, seen in zip(ids.cpu(), mask.bool().cpu(), strict=True)]
    # All prompts share the beginning that the first and the last in sorted order share.
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(prompts), max(prompts), strict=False))
    common = min(sum(1 for _ in alike), min(map(len, prompts)) - 1)
    worth_it = common >= _LEAST_BEGINNING and common * (len(prompts) - 1) > forward_cost
    return common if worth_it else 0
