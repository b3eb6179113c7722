"""The rollouts of a TRL trainer: who samples them, and their entropies at θ_0, from whoever knows these first."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import GenerationConfig

from sfpo.model.capabilities import Capabilities
from sfpo.model.sampler import Sampled, sample
from sfpo.trl.compact import Rows, distinct_rows
from sfpo.trl.generation import asked_of_generate, does_all, restriction
from sfpo.trl.host import Host
from sfpo.trl.micro_batch import MicroBatch, without_advantage
from sfpo.trl.self_check import SamplerCheck


class Rollouts:
    """Samples where our sampler can stand in for `generate`, and puts the entropies at θ_0 into the batch.

    The sampler knows them; where something else samples, the scoring of π_old does, if TRL makes one (`scored`: with several
    mini-batches a pass). If it makes none, the entropies wait for pass 0.
    """

    def __init__(self, trainer: Any, host: Host, capabilities: Capabilities, scored: bool) -> None:
        self._trainer = trainer
        fits = capabilities.shares_beginnings and CompactRollouts.fit(trainer, host)
        self._sampler = CompactRollouts(trainer, host) if fits else None
        self._check = SamplerCheck(trainer)
        self._capabilities = capabilities
        self._scored = scored
        self.awaits_scores = False
        """Whether the next scores are those of π_old, and are to have entropies."""
        self._making_batch = False
        self._entropies: Tensor | None = None

    @contextmanager
    def making_batch(self) -> Iterator[None]:
        """Surrounds the making of a batch of rollouts to train on."""
        self._making_batch = True
        self.awaits_scores = self._scored
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
        asked = asked_of_generate(self._trainer)
        if not does_all(asked) or not self._capabilities.fit(max(map(len, prompt_ids)) + asked.max_new_tokens):
            return None
        sampled = self._check.checked(prompt_ids, partial(self._sampler.sample, prompt_ids, asked))
        if sampled is None:
            self._sampler = None
            return None
        if self._making_batch and asked.do_sample:  # a greedy completion is a baseline, not one of the batch
            self.awaits_scores = False
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
        """Whether the trainer samples by `generate` with the model's text alone, on this process."""
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
            and not args.generation_kwargs
            and args.temperature > 0
        )

    def sample(self, prompt_ids: list[list[int]], asked: GenerationConfig) -> Sampled:
        """One completion for every prompt, as the trainer would sample it."""
        return sample(
            self._model(),
            prompt_ids,
            max_new_tokens=asked.max_new_tokens,
            end_ids=self._end_ids,
            temperature=asked.temperature,
            restrict=restriction(asked.top_k, asked.top_p, asked.min_p),
            do_sample=asked.do_sample,
        )

    def _model(self) -> nn.Module:
        """The policy as it is trained: in bf16 autocast, its weights are rounded to bf16 at every product.

        That rounding would be done anew for every token, so it is done once a batch, into a copy.
        """
        policy: nn.Module = self._trainer.accelerator.unwrap_model(self._trainer.model)
        if not self._trainer.args.bf16:
            return policy
        if self._half is None:
            self._half = _in_bf16(_plain_copy(policy))
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


def _in_bf16(model: nn.Module) -> nn.Module:
    """Round what a checkpoint holds, as loading one in bf16 does. Frequencies of rotary embeddings and the like stay in float32."""
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.bfloat16)
    return model


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
