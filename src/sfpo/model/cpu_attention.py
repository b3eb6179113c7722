"""Attention for training in bf16 on a CPU: plain matrix products for a few completions at a time.

Torch's fused attention multiplies queries and keys in small blocks. In bf16 a CPU does so at a fraction of its speed, most
of all in the backward. This module computes all attention weights of a few completions at once. It computes them again for
the gradient, and so holds no more memory between forward and backward than the fused kernels do.

Shapes: R rows, H query heads, G key-value heads, Q queries, K keys, D and V sizes of a key and a value.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "sfpo_cpu"
"""The name under which transformers knows this attention."""
_CHUNK = 2**21
"""Attention weights to compute at a time (4 MiB), but at least one row's. Fewer are too little work for two threads."""
_KEYS_MULTIPLE = 32
"""Keys are padded to a multiple of this: products with an odd number of keys take a third longer."""


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
    """Attention with transformers' interface; calls its `sdpa` where no gradient is needed or the arguments do not fit.

    Args:
        query: (R, H, Q, D).
        key: (R, G, K, D).
        value: (R, G, K, V).
        attention_mask: (R or 1, 1, Q, K), True where a query may attend; None for causal attention. The output is 0 for a
            padding query that may attend to no key, as in the fused kernels.
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
    if attention_mask is None:
        attention_mask = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool).tril()
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    states = (states.to(dtype) for states in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        attended: Tensor = _Attention.apply(*states, attention_mask, scale)  # type: ignore[no-untyped-call]
    blind = ~attention_mask.any(-1)[:, 0, :, None, None]
    return attended.masked_fill(blind, 0) if blind.any() else attended, None


class _Attention(torch.autograd.Function):
    """Attention from queries, keys and values to (R, Q, H, V)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        rows, heads, queries, _ = query.shape
        output = query.new_empty(rows, queries, heads, value.shape[-1])
        for part, states, bias in _pieces(query, key, value, mask):
            output[part] = _attend(states, bias, scale).view(-1, heads, queries, value.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(query, key, value, mask)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, mask = ctx.saved_tensors
        keys = key.shape[2]
        gradients = [torch.empty_like(states, memory_format=torch.contiguous_format) for states in (query, key, value)]
        with torch.autocast("cpu", enabled=False):
            for part, states, bias in _pieces(query, key, value, mask):
                leaves = [states_.detach().requires_grad_() for states_ in states]
                with torch.enable_grad():
                    output = _attend(leaves, bias, ctx.scale)
                by_output = gradient[part].transpose(1, 2).reshape(output.shape)
                by_query, *others = torch.autograd.grad(output, leaves, by_output)
                gradients[0][part] = by_query.view_as(gradients[0][part])
                for whole, piece in zip(gradients[1:], others, strict=True):
                    whole[part] = piece.view(-1, key.shape[1], *piece.shape[1:])[:, :, :keys]
        by_query, by_key, by_value = gradients
        return by_query, by_key, by_value, None, None


def _pieces(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> Iterator[tuple[slice, tuple[Tensor, Tensor, Tensor], Tensor]]:
    """Yield a few rows at a time, their states as batches of matrices, and the bias to add to queries times keys.

    Queries that share a key-value head lie side by side, so that one product serves them all.
    """
    rows, heads, queries, size = query.shape
    groups = key.shape[1]
    if missing := -key.shape[2] % _KEYS_MULTIPLE:
        key, value, mask = pad(key, (0, 0, 0, missing)), pad(value, (0, 0, 0, missing)), pad(mask, (0, missing))
    keys = key.shape[2]
    # Half the lowest number, because adding it to a product must not overflow.
    unseen = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, torch.finfo(query.dtype).min / 2)
    unseen = unseen[:, :, None].expand(rows, groups, heads // groups, queries, keys)
    step = max(1, _CHUNK // (heads * queries * keys))
    for row in range(0, rows, step):
        part = slice(row, row + step)
        states = (
            query[part].reshape(-1, heads // groups * queries, size),
            key[part].reshape(-1, keys, size),
            value[part].reshape(-1, keys, value.shape[-1]),
        )
        yield part, states, unseen[part].reshape(len(states[0]), -1, keys)


def _attend(states: Sequence[Tensor], bias: Tensor, scale: float) -> Tensor:
    query, key, value = states
    return torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scale).softmax(-1) @ value
