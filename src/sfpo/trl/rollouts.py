"""The rollouts of a TRL trainer: who samples them, and their entropies at θ_0, from whoever knows these first."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import MinPLogitsWarper, TopKLogitsWarper

from sfpo.model.attention import obeys_any_mask
from sfpo.model.prefill import keeps_every_key
from sfpo.model.sampler import Sampled, nucleus, sample
from sfpo.trl.compact import Rows, distinct_rows
from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, without_advantage


class Rollouts:
    """Samples where our sampler can stand in for `generate`, and puts the entropies at θ_0 into the batch.

    The sampler knows them; otherwise the scoring of π_old does, where TRL makes one (`scored`: with several mini-batches a
    pass). Where it makes none, the entropies wait for pass 0.
    """

    def __init__(self, trainer: Any, host: Host, scored: bool) -> None:
        self._trainer = trainer
        self._sampler = CompactRollouts(trainer, host) if CompactRollouts.fit(trainer, host) else None
        self._scored = scored
        self.awaits_scores = False
        """Whether the next scores are those of π_old, and are to have entropies."""
        self._making_batch = False
        self._entropies: Tensor | None = None

    @contextmanager
    def making_batch(self) -> Iterator[None]:
        """Surrounds the making of a batch of rollouts to train on."""
        self._making_batch = True
        self.awaits_scores = self._scored and self._sampler is None
        try:
            yield
        finally:
            self._making_batch = self.awaits_scores = False
            self._entropies = None

    def add_entropies(self, batch: MicroBatch) -> None:
        """Put the entropies into the batch that is being made, if they are known."""
        if self._entropies is not None:
            # TRL may have padded the completions further.
            missing = batch["completion_ids"].shape[1] - self._entropies.shape[1]
            batch["entropies_at_start"] = nn.functional.pad(self._entropies, (0, missing))

    def sample(self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any) -> list[list[int]] | None:
        """Completions by the sampler, or None to leave them to the host."""
        if self._sampler is None or images or multimodal_fields:
            return None
        sampled = self._sampler.sample(prompt_ids)
        if self._making_batch:
            self._entropies = _padded(sampled.entropies, self._trainer.accelerator.device)
        return sampled.completion_ids

    def note(self, entropies: Tensor | None) -> None:
        """Keep the entropies (R, C) of the scores that were awaited, if any were."""
        if self.awaits_scores:
            self.awaits_scores = False
            self._entropies = entropies


class CompactRollouts:
    """Samples completions with a trainer's model and settings."""

    def __init__(self, trainer: Any, host: Host) -> None:
        self._trainer = trainer
        self._end_ids = host.end_ids
        self._half: nn.Module | None = None

    @staticmethod
    def fit(trainer: Any, host: Host) -> bool:
        """Whether the sampler does all that this trainer's settings ask of `generate`."""
        args = trainer.args
        return bool(
            args.compact_rollouts
            # It waits for the device at every token. Nothing has been measured on an accelerator yet.
            and trainer.accelerator.device.type == "cpu"
            and trainer.accelerator.distributed_type == DistributedType.NO
            and not args.use_vllm
            and not args.use_transformers_continuous_batching
            and not host.calls_tools
            and not host.reads_images
            and args.repetition_penalty in (None, 1.0)
            and not args.generation_kwargs
            and args.cache_implementation is None
            and args.temperature > 0
            and keeps_every_key(trainer.model.config)
            and obeys_any_mask(trainer.model.config)
        )

    def sample(self, prompt_ids: list[list[int]]) -> Sampled:
        """One completion for every prompt, as the trainer would sample it."""
        args = self._trainer.args
        return sample(
            self._model(),
            prompt_ids,
            max_new_tokens=args.max_completion_length,
            end_ids=self._end_ids,
            temperature=args.temperature,
            restrict=_restriction(args.top_k, args.top_p, args.min_p),
        )

    def _model(self) -> nn.Module:
        """The policy as it is trained: in bf16 autocast, its weights are rounded to bf16 at every product.

        That rounding would be done anew for every token, so it is done once a batch, into a copy.
        """
        policy: nn.Module = self._trainer.accelerator.unwrap_model(self._trainer.model)
        if not self._trainer.args.bf16:
            return policy
        if self._half is None:
            self._half = _plain_copy(policy).to(torch.bfloat16)
        with torch.no_grad():
            for rounded, weight in zip(self._half.parameters(), policy.parameters(), strict=True):
                rounded.copy_(weight)
        return self._half


def _plain_copy(policy: nn.Module) -> nn.Module:
    """A copy whose modules run their classes' forward: TRL and accelerate wrap those of the policy's."""
    plain = copy.deepcopy(policy)
    for module in plain.modules():
        module.__dict__.pop("forward", None)
    return plain.requires_grad_(False)


def _restriction(top_k: int | None, top_p: float, min_p: float | None) -> Callable[[Tensor], Tensor] | None:
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


def distinct_share(batch: MicroBatch, reduce: Callable[[Tensor], Tensor]) -> float:
    """Share of the completion tokens with an advantage that is left when equal completions of a prompt count once.

    Over all processes; `reduce` adds up what each has.
    """
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    rows = Rows(*(batch[name] for name in names))[~without_advantage(batch)]
    counts = [part.completion_mask.sum() for part in (distinct_rows(rows)[0], rows)]
    different, tokens = reduce(torch.stack(counts).float()).tolist()
    return float(different / tokens) if tokens else 1.0


def _padded(rows: list[list[float]], device: torch.device) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row, device=device) for row in rows], batch_first=True)
