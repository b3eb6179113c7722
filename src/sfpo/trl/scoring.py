"""How a trainer's passes are scored: what they may save, and what one loss makes of its micro-batch's scores."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.utils import DistributedType, has_compiled_regions, is_compiled_module
from torch import Tensor, nn

from sfpo.model.capabilities import Capabilities, projects_to_logits
from sfpo.trl.compact import Rows, score, split_rows
from sfpo.trl.head import Head
from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, rows_without_gradient

Scores = tuple[Tensor, Tensor]
"""Log-probabilities and entropies (nats) of the completion tokens, both (R, C)."""


@dataclass(frozen=True)
class Savings:
    """What the passes of a run may save without changing the loss or its gradient, but for the order of sums.

    Attributes:
        compact: completions are scored by `compact.score`, not by TRL.
        skip_rows: completions without an advantage leave the backward, and the forward where their scores are known.
        regroup_rows: completions change micro-batches within an optimizer step, so that those of a prompt meet.
        share_prompts: a prompt is encoded once for all its completions.
        one_forward: every micro-batch is one forward.
    """

    compact: bool
    skip_rows: bool
    regroup_rows: bool
    share_prompts: bool
    one_forward: bool

    @classmethod
    def of(cls, trainer: Any, host: Host, capabilities: Capabilities) -> "Savings":
        """What the trainer's settings and its model allow."""
        args = trainer.args
        fits = host.has_fused_head and capabilities.places_tokens
        compact = args.compact_passes and not trainer.aux_loss_enabled and fits
        # Several processes must make the same forwards for the collectives of DDP and FSDP2 to meet, whatever their own
        # completions are, and DeepSpeed's engine hooks each: one a micro-batch, as TRL makes.
        one_forward = trainer.accelerator.distributed_type != DistributedType.NO
        return cls(
            compact=compact,
            skip_rows=compact and not host.every_row_has_gradient,
            # The rows of a micro-batch that is normalized by its own tokens must stay together.
            regroup_rows=compact and not host.adds_to_every_row and not host.normalizes_micro_batches,
            # Checkpointing recomputes layers without the cache that shared prompts live in.
            share_prompts=compact
            and not one_forward
            and not args.gradient_checkpointing
            and capabilities.shares_beginnings,
            one_forward=one_forward,
        )


class LossScoring:
    """The scoring of one micro-batch for one loss."""

    def __init__(self, idle: Tensor | None, idle_scores: Scores | None) -> None:
        self.idle = idle
        """(R,) True for the completions without a gradient; None if every completion has one, or may have."""
        self.idle_scores = idle_scores
        """Finite log-probabilities and the entropies, right where `idle` is True, if they are known."""
        self.scores: Scores | None = None
        """What the loss was computed from, without its graph; None until it has been."""


class Scorer:
    """Scores micro-batches for a trainer."""

    def __init__(self, trainer: Any, host: Host, capabilities: Capabilities) -> None:
        self.savings = Savings.of(trainer, host, capabilities)
        self._capabilities = capabilities
        self._trainer = trainer
        self._head_in_float32 = host.head_in_float32
        # Asked for shared prompts on a CPU alone, since it takes a forward.
        asks = self.savings.share_prompts and trainer.model.device.type == "cpu"
        self._head_in_chunks = asks and projects_to_logits(trainer.model)
        self._loss: LossScoring | None = None

    def scores(self, model: nn.Module, columns: int) -> bool:
        """Whether rows of so many columns are scored here, not by the host."""
        # A compiled forward may or may not see the hook by which the head takes hidden states.
        compiled = is_compiled_module(model) or has_compiled_regions(model)
        return self.savings.compact and self._capabilities.fit(columns) and not compiled

    @property
    def longest(self) -> int | None:
        """The columns beyond which rows are left to the host; None for any number."""
        return self._capabilities.longest

    def switch_off(self) -> None:
        """Leave all scoring to the host from here on."""
        self.savings = Savings(
            compact=False, skip_rows=False, regroup_rows=False, share_prompts=False, one_forward=True
        )

    @contextmanager
    def of_loss(self, inputs: MicroBatch) -> Iterator[LossScoring]:
        """Surrounds one training loss, the scoring of which may leave out what has no gradient."""
        idle = idle_scores = None
        if self.savings.skip_rows:
            idle = rows_without_gradient(inputs)
            if (entropies := inputs.get("entropies_at_start")) is not None:
                # Multiplied by an advantage of 0, any finite log-probability will do.
                idle_scores = inputs.get("old_per_token_logps", torch.zeros_like(entropies)), entropies
        self._loss = LossScoring(idle, idle_scores)
        try:
            yield self._loss
        finally:
            self._loss = None

    def score(
        self, model: nn.Module, input_ids: Tensor, attention_mask: Tensor, completion_length: int, batch_size: int
    ) -> Scores:
        """Score (R, P + C) prompts and completions, `batch_size` rows at a time."""
        parts = [slice(start, start + batch_size) for start in range(0, len(input_ids), batch_size)]
        with self._trainer.accelerator.autocast():
            scores = [
                self._score(model, split_rows(input_ids[part], attention_mask[part], completion_length))
                for part in parts
            ]
        logps, entropies = (torch.cat(part) for part in zip(*scores, strict=True))
        return logps, entropies

    def note(self, logps: Tensor, entropies: Tensor | None) -> None:
        """Keep scores, whoever made them, for the loss that is being computed, if one is."""
        if self._loss is not None and entropies is not None:
            self._loss.scores = logps.detach(), entropies.detach()

    def _score(self, model: nn.Module, rows: Rows) -> Scores:
        idle = None if self._loss is None else self._loss.idle
        known = None if self._loss is None else self._loss.idle_scores
        if idle is None or (self.savings.one_forward and known is None):
            return self.score_rows(model, rows)
        left, kept = idle.nonzero()[:, 0], (~idle).nonzero()[:, 0]
        scores = self.score_rows(model, rows[kept])
        if known is None:
            with torch.no_grad():
                left_scores = self.score_rows(model, rows[left])
        else:
            left_scores = known[0][left], known[1][left]
        order = torch.cat([kept, left]).argsort()
        logps, entropies = (torch.cat(pair)[order] for pair in zip(scores, left_scores, strict=True))
        return logps, entropies

    def score_rows(self, model: nn.Module, rows: Rows) -> Scores:
        """Score the rows, each of which counts."""
        share_prompts, one_forward = self.savings.share_prompts, self.savings.one_forward
        return score(model, rows, self._head(), share_prompts=share_prompts, one_forward=one_forward)

    def score_thoroughly(self, model: nn.Module, rows: Rows) -> Scores:
        """Score the rows with all that a run may save, whether or not it pays off for these few."""
        savings, head = self.savings, self._head()
        few = replace(head, chunk=min(head.chunk, max(1, int(rows.completion_mask.sum()) // 4)))
        share_prompts, one_forward = savings.share_prompts, savings.one_forward
        return score(model, rows, few, share_prompts=share_prompts, one_forward=one_forward, forward_cost=0)

    def _head(self) -> Head:
        """That of completions encoded after their prompts; the autocast decides how many logits it makes at a time."""
        return Head.of(
            self._trainer.model,
            temperature=self._trainer.temperature,
            in_float32=self._head_in_float32,
            in_chunks=self._head_in_chunks,
        )
