"""Attention for training on a CPU: torch's fused forward, and a backward of plain matrix products in place of its fused one.

The fused backward goes through queries and keys in small blocks, which a CPU multiplies at a fraction of its speed. Here the
attention weights of some completions at a time are made again whole, so that no more memory is held between forward and
backward than with the fused kernels.

Shapes: R rows, H query heads, G of them to each key-value head, Q queries, K keys, D and V sizes of a key and a value.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "sfpo_cpu"
"""What transformers knows this attention by."""
_CHUNK = 2**22
"""Attention weights that are made at a time (16 MiB); those of one row at least. Less is too little work for two threads."""


def register() -> str:
    """Make `attn_implementation=NAME` known to transformers, and return the name."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention by transformers' interface; where this file's backward does not fit, its `sdpa`.

    Args:
        query: (R, H, Q, D).
        key: (R, H / G, K, D).
        value: (R, H / G, K, V).
        attention_mask: (R or 1, 1, Q, K), True where a query may look; None for causal attention.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    needs_gradient = torch.is_grad_enabled() and any(states.requires_grad for states in (query, key, value))
    plain = dropout == 0 and not any(more.get(name) is not None for name in ("position_bias", "cache", "softcap"))
    if attention_mask is None:
        masked = causal and query.shape[2] == key.shape[2]
    else:
        masked = attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1
    if not (needs_gradient and plain and masked and query.device.type == "cpu"):
        more |= {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
        output: tuple[Tensor, Tensor | None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, attention_mask, **more
        )
        return output
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    states = (states.to(dtype) for states in (query, key, value))
    attended: Tensor = _Attention.apply(*states, attention_mask, scale)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2).contiguous(), None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        output = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
        )
        ctx.save_for_backward(query, key, value, mask, output)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, mask, output = ctx.saved_tensors
        rows, heads, queries, size = query.shape
        groups, keys = key.shape[1:3]
        if mask is None:
            mask = torch.ones(1, 1, queries, keys, dtype=torch.bool).tril()
        mask = mask.expand(rows, 1, queries, keys)
        # A query of padding may see nothing: the fused forward gives it 0, which has no gradient.
        gradient = gradient * mask.any(-1, keepdim=True)
        along = (gradient.float() * output.float()).sum(-1)

        # The queries of a key-value head side by side, so that one product serves them all.
        shape = (rows * groups, heads // groups * queries)
        query, gradient = query.reshape(*shape, size), gradient.reshape(*shape, -1)
        key, value = key.reshape(-1, keys, size), value.reshape(len(query), keys, -1)
        along = along.reshape(*shape, 1)
        gradients = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        step = max(1, _CHUNK // (heads * queries * keys))
        with torch.autocast("cpu", enabled=False):
            for row in range(0, rows, step):
                # Half the least number: added to a product it must not overflow.
                unseen = torch.zeros_like(mask[row : row + step], dtype=query.dtype).masked_fill_(
                    ~mask[row : row + step], torch.finfo(query.dtype).min / 2
                )
                bias = unseen.expand(-1, groups, -1, -1).repeat(1, 1, heads // groups, 1).flatten(0, 1)
                part = slice(row * groups, (row + step) * groups)
                pieces = _of_rows(query[part], key[part], value[part], gradient[part], along[part], bias, ctx.scale)
                for whole, piece in zip(gradients, pieces, strict=True):
                    whole[part] = piece
        by_query, by_key, by_value = gradients
        return (
            by_query.view(rows, heads, queries, size),
            by_key.view(rows, groups, keys, size),
            by_value.view(rows, groups, keys, -1),
            None,
            None,
        )


def _of_rows(
    query: Tensor, key: Tensor, value: Tensor, gradient: Tensor, along: Tensor, bias: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the loss by query, key and value, from that by the output and its product `along` with the output."""
    weights = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scale).softmax(-1, dtype=torch.float32)
    by_weight = gradient @ value.transpose(1, 2)
    by_value = weights.to(value.dtype).transpose(1, 2) @ gradient
    by_score = ((by_weight - along) * scale).mul_(weights).to(query.dtype)
    return by_score @ key, by_score.transpose(1, 2) @ query, by_value
