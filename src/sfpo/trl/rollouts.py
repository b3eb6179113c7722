"""Rollouts of a TRL trainer by `sfpo.model.sampler`, where it can stand in for `generate`."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import MinPLogitsWarper, TopKLogitsWarper

from sfpo.model.prefill import keeps_every_key
from sfpo.model.sampler import Sampled, nucleus, sample
from sfpo.trl.host import Host


class CompactRollouts:
    """Samples completions with a trainer's model and settings."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._half: nn.Module | None = None

    @staticmethod
    def fit(trainer: Any, host: Host) -> bool:
        """Whether the sampler does all that this trainer's settings ask of `generate`."""
        args = trainer.args
        return bool(
            args.compact_rollouts
            and trainer.accelerator.distributed_type == DistributedType.NO
            and not args.use_vllm
            and not args.use_transformers_continuous_batching
            and not host.calls_tools
            and not trainer._is_vlm
            and args.repetition_penalty in (None, 1.0)
            and not args.generation_kwargs
            and args.cache_implementation is None
            and args.temperature > 0
            and keeps_every_key(trainer.model.config)
        )

    def sample(self, prompt_ids: list[list[int]]) -> Sampled:
        """One completion for every prompt, as the trainer would sample it."""
        args = self._trainer.args
        return sample(
            self._model(),
            prompt_ids,
            max_new_tokens=args.max_completion_length,
            end_ids=self._trainer.eos_token_ids,
            temperature=args.temperature,
            restrict=_restriction(args.top_k, args.top_p, args.min_p),
        )

    def _model(self) -> nn.Module:
        """The policy as it is trained: in bf16 autocast, its weights are rounded to bf16 at every product.

        On a CPU that rounding would be done anew for every token, so there it is done once a batch, into a copy.
        """
        policy: nn.Module = self._trainer.accelerator.unwrap_model(self._trainer.model)
        if not self._trainer.args.bf16 or self._trainer.accelerator.device.type != "cpu":
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
