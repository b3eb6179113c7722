"""Log-probabilities of completions without the work that adds nothing: padding, repeated rows and prompts, prompt logits.

TRL scores a micro-batch as one padded rectangle. Here equal completions of one prompt, which a policy that is sure or brief
gives often, are scored once, rows are cut by length into smaller rectangles, each distinct prompt is encoded once for all its
completions, what prompts begin with in common once for all, no prompt position goes through the vocabulary (off Triton, TRL's
head scores every one), and a CPU takes the quicker head (`head.py`). What comes out is the same up to the order of
floating-point sums, and so is the gradient. Where only one forward may be made, it is one rectangle, without the padding that
all its rows have.

Shapes: R rows, P prompt tokens (padded left), C completion tokens (padded right), U distinct prompts.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from sfpo.model.prefill import Prefill, cost_of_forward, encode_prompts, positions
from sfpo.trl.head import Head
from sfpo.trl.micro_batch import distinct_sequences


@dataclass(frozen=True)
class Rows:
    """Completions and their prompts. Masks are 1 on tokens; a completion's tokens come first in its row."""

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor

    def __getitem__(self, index: Tensor) -> "Rows":
        return Rows(
            self.prompt_ids[index], self.prompt_mask[index], self.completion_ids[index], self.completion_mask[index]
        )


def split_rows(input_ids: Tensor, attention_mask: Tensor, completion_length: int) -> Rows:
    """Rows from prompts and completions side by side."""
    return Rows(
        input_ids[:, :-completion_length],
        attention_mask[:, :-completion_length],
        input_ids[:, -completion_length:],
        attention_mask[:, -completion_length:],
    )


def score(
    model: nn.Module,
    rows: Rows,
    head: Head,
    *,
    share_prompts: bool,
    one_forward: bool,
    forward_cost: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats) of the completion tokens, both (R, C), 0 on padding.

    Args:
        model: a causal language model with TRL's fused head, whatever it is wrapped in.
        head: what takes the logits of completions encoded after their prompts.
        share_prompts: encode each distinct prompt once and let its completions attend to that, which needs a model that
            `shares_beginnings` (`sfpo.model.capabilities`) and no gradient checkpointing. Not with one forward.
        one_forward: leave the rows one rectangle.
        forward_cost: how many tokens a further forward must save; None for what it costs on the device.
    """
    different, number = distinct_rows(rows)
    if forward_cost is None:
        forward_cost = cost_of_forward(rows.prompt_ids.device)
    logps, entropies = _score_each(model, different, head, share_prompts, one_forward, forward_cost)
    # Backwards, the gradients of equal rows are added up.
    return logps.index_select(0, number), entropies.index_select(0, number)


def distinct_rows(rows: Rows) -> tuple[Rows, Tensor]:
    """The distinct rows, and for each of the (R,) rows the index of its equal among them."""
    tokens = torch.cat([rows.prompt_ids, rows.completion_ids], dim=1)
    mask = torch.cat([rows.prompt_mask, rows.completion_mask], dim=1)
    different, number = distinct_sequences(tokens, mask)
    return split_rows(different.clamp(min=0), (different >= 0).long(), rows.completion_ids.shape[1]), number


def _score_each(
    model: nn.Module, rows: Rows, head: Head, share_prompts: bool, one_forward: bool, forward_cost: int
) -> tuple[Tensor, Tensor]:
    logps = rows.completion_ids.new_zeros(rows.completion_ids.shape, dtype=torch.float32)
    entropies = torch.zeros_like(logps)
    prompts = _encode_prompts(model, rows, forward_cost) if share_prompts else None
    pieces = []
    whole = torch.arange(len(logps), device=logps.device)
    for index in [whole] if one_forward else _rectangles(rows, prompts is None, forward_cost):
        part = rows[index]
        # Where all completions are cut off and masked, one forward makes the scores of their first, masked tokens.
        length = max(1, int(part.completion_mask.sum(1).max()))
        if prompts is None:
            scores = _score_whole(model, part, length)
        else:
            scores = prompts.score(model, part, head, index, length)
        pieces.append((index, length, *scores))
    for index, length, part_logps, part_entropies in pieces:
        columns = torch.arange(length, device=index.device)
        # Out of place, since these carry the gradient.
        logps = logps.index_put((index[:, None], columns), part_logps.float())
        entropies = entropies.index_put((index[:, None], columns), part_entropies.float())
    return logps, entropies


class _EncodedPrompts:
    """Every distinct prompt but for its last token, which predicts the completion's first; None if there is no more."""

    def __init__(self, prefill: Prefill | None, prompt_of_row: Tensor) -> None:
        self._prefill = prefill
        self._prompt_of_row = prompt_of_row

    def score(self, model: nn.Module, part: Rows, head: Head, index: Tensor, length: int) -> tuple[Tensor, Tensor]:
        prompt = self._prompt_of_row[index]
        completion_ids, mask = part.completion_ids[:, :length], part.completion_mask[:, :length]
        input_ids = torch.cat([part.prompt_ids[:, -1:], completion_ids[:, :-1]], dim=1)
        seen = torch.cat([torch.ones_like(mask[:, :1]), mask[:, :-1]], dim=1)
        cache = None
        if self._prefill is not None:
            seen = torch.cat([self._prefill.mask[prompt], seen], dim=1)
            # Its gradient is summed faster than that of indexing by a tensor, which a CPU sums number by number.
            of_row = partial(torch.index_select, dim=0, index=prompt)
            layers = [(of_row(keys), of_row(values)) for keys, values in self._prefill.layers]
            cache = DynamicCache(ddp_cache_data=layers)
        return head.score(
            model,
            completion_ids,
            mask,
            input_ids=input_ids,
            attention_mask=seen,
            position_ids=positions(seen)[:, -length:],
            past_key_values=cache,
        )


def _encode_prompts(model: nn.Module, rows: Rows, forward_cost: int) -> _EncodedPrompts:
    distinct, prompt_of_row = distinct_sequences(rows.prompt_ids, rows.prompt_mask)
    ids, mask = distinct[:, :-1].clamp(min=0), (distinct[:, :-1] >= 0).long()
    longest = int(mask.sum(1).max()) if mask.numel() else 0
    if longest == 0:
        return _EncodedPrompts(None, prompt_of_row)
    prefill = encode_prompts(model, ids[:, -longest:], mask[:, -longest:], forward_cost)
    return _EncodedPrompts(prefill, prompt_of_row)


def _score_whole(model: nn.Module, part: Rows, length: int) -> tuple[Tensor, Tensor]:
    """Prompts and completions in one forward, whose prompt positions TRL's head masks."""
    longest = int(part.prompt_mask.sum(1).max())
    completion_ids, mask = part.completion_ids[:, :length], part.completion_mask[:, :length]
    seen = torch.cat([part.prompt_mask[:, -longest:], mask], dim=1)
    labels = torch.cat([torch.full_like(part.prompt_ids[:, -longest:], -100), completion_ids], dim=1)
    output = model(
        input_ids=torch.cat([part.prompt_ids[:, -longest:], completion_ids], dim=1),
        attention_mask=seen,
        position_ids=positions(seen),
        labels=labels.masked_fill(seen == 0, -100),
        fused_lm_head=True,
    )
    return output.log_probs[:, -length:], output.entropy[:, -length:]


def _rectangles(rows: Rows, count_prompts: bool, forward_cost: int) -> Iterator[Tensor]:
    """Indices of rows with tokens, of like lengths together, cut where padding and forwards cost least."""
    lengths = rows.completion_mask.sum(1)
    costs = lengths + rows.prompt_mask.sum(1) if count_prompts else lengths
    order = costs.argsort(descending=True, stable=True)
    order = order[lengths[order] > 0]
    counts = Counter(costs[order].tolist())
    widths, ends = list(counts), [0, *accumulate(counts.values())]
    # The least that all rows down to each width cost, and where the last rectangle of these starts.
    least, starts = [0], [0]
    for end in range(1, len(ends)):
        cost, start = min(
            (least[start] + widths[start] * (ends[end] - ends[start]) + forward_cost, start) for start in range(end)
        )
        least.append(cost)
        starts.append(start)
    end = len(widths)
    while end > 0:
        yield order[ends[starts[end]] : ends[end]]
        end = starts[end]
