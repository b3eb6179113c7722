"""The buffered micro-batches of rollouts: which rows need a pass, and which belong together."""

from typing import Any

import torch
from torch import Tensor

MicroBatch = dict[str, Any]
"""What TRL buffers: tensors with one row a completion, and scalars."""


def completion_tokens(inputs: MicroBatch) -> Tensor:
    """(R, C) mask of the tokens that the policy produced and the loss sees."""
    mask: Tensor = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def distinct_sequences(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The (U, L) distinct sequences among (R, L) rows, -1 on padding, and the (R,) index of each row's sequence."""
    padded = torch.where(mask.bool(), ids, -1)
    distinct, sequence_of_row = torch.unique(padded, dim=0, return_inverse=True)
    return distinct, sequence_of_row


def rows_without_gradient(inputs: MicroBatch) -> Tensor | None:
    """(R,) True where the advantage is exactly 0, so that the clipped objective has no gradient; None if nowhere.

    One row with tokens always stays, so that the gradient is exactly zero rather than absent, which optimizers treat
    differently; None where there is no such row.
    """
    has_tokens = inputs["completion_mask"].any(dim=1)
    skipped = without_advantage(inputs) | ~has_tokens
    if skipped.all():
        lengths = inputs["completion_mask"].sum(dim=1)
        skipped[lengths.masked_fill(~has_tokens, torch.iinfo(lengths.dtype).max).argmin()] = False
    return skipped if skipped.any() and has_tokens.any() else None


def regroup(batch: list[MicroBatch], size: int) -> list[MicroBatch]:
    """Put completions of one prompt, and completions without a gradient, into the same micro-batches.

    Rows move only within runs of `size` micro-batches, those that make one optimizer step, and micro-batches keep their
    number of rows: sums and means over rows stay what they are.
    """
    regrouped: list[MicroBatch] = []
    for start in range(0, len(batch), size):
        run = batch[start : start + size]
        per_row = {name for name, value in run[0].items() if isinstance(value, Tensor) and value.dim() > 0}
        if any(value is not None and not isinstance(value, Tensor) for value in run[0].values()):
            return batch  # images and the like, whose rows are not one per completion
        whole = {name: torch.cat([inputs[name] for inputs in run]) for name in per_row}
        order = _order(whole)
        rows = len(order) // len(run)
        for index, inputs in enumerate(run):
            chosen = order[index * rows : (index + 1) * rows]
            regrouped.append(inputs | {name: whole[name][chosen] for name in per_row})
    return regrouped


def _order(inputs: MicroBatch) -> Tensor:
    """Rows with a gradient first, each prompt's together."""
    _, prompt_of_row = distinct_sequences(inputs["prompt_ids"], inputs["prompt_mask"])
    idle = without_advantage(inputs)
    order: Tensor = (prompt_of_row + idle * len(idle)).argsort(stable=True)
    return order


def without_advantage(inputs: MicroBatch) -> Tensor:
    """(R,) True where the advantage, per row or per token, is exactly 0."""
    advantages: Tensor = inputs["advantages"]
    return (advantages.reshape(len(advantages), -1) == 0).all(dim=1)
