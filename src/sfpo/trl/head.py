"""Log-probabilities and entropies of tokens by the head that is quickest where the model lives.

No head here holds the logits of all tokens. TRL's goes through the vocabulary in tiles and computes each again for the
gradient. That is right for accelerators, where it is a Triton kernel. On a CPU it is a dozen passes over memory for each
tile, so there the model's own projection makes the logits of some tokens at a time, and makes them again for the gradient.
Where all fit one chunk, the model's forward makes them; where they do not and the model scales or caps its logits, TRL's head,
which knows of that. Which of the two is known before the forward: a second one would go over a key-value cache that the
first has extended.

Shapes: R rows, C tokens, V vocabulary, h hidden size, T tokens of all rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CACHED = 2**19
"""How many logits become probabilities at a time: few enough for a core's cache, but at least those of one token."""
_CHUNK_BYTES = 2**27
"""Logits that a projection makes at a time. Each chunk's gradient of the projection is added to that of the others."""


@dataclass(frozen=True)
class Head:
    """How the log-probabilities of a micro-batch are made.

    Attributes:
        temperature: what logits are divided by, as in the rollouts.
        projection: the model's own, which makes the logits on a CPU; None for TRL's fused head.
        chunk: tokens whose logits the model makes at a time.
        in_chunks: the projection alone makes the logits (`sfpo.model.capabilities.projects_to_logits`), so that it can make
            those of more tokens, chunk by chunk; otherwise these are left to TRL's head.
    """

    temperature: float
    projection: nn.Module | None = None
    chunk: int = 1
    in_chunks: bool = False

    @classmethod
    def of(cls, model: Any, *, temperature: float, in_float32: bool, in_chunks: bool) -> "Head":
        """The head for a model.

        Args:
            model: the model as a `PreTrainedModel`, whatever it may be wrapped in elsewhere.
            in_float32: whether the projection is to be made in float32 whatever the autocast, which only TRL's head does.
            in_chunks: whether the model's projection alone makes its logits.
        """
        if model.device.type != "cpu" or in_float32:
            return cls(temperature)
        size = (torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else model.dtype).itemsize
        vocabulary = model.config.get_text_config().vocab_size
        chunk = max(1, _CHUNK_BYTES // (size * vocabulary))
        return cls(temperature, model.get_output_embeddings(), chunk, in_chunks)

    def score(self, model: nn.Module, targets: Tensor, mask: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (nats) of `targets`, both (R, C) in float32, 0 where the mask (R, C) is.

        Each position of `inputs` predicts the target of the same place.
        """
        fits = targets.numel() <= self.chunk
        if self.projection is None or not (fits or self.in_chunks):
            return self._score_by_trl(model, targets, mask, inputs)
        seen = mask.bool()
        if fits:
            logps, entropies = _score(model(**inputs, use_cache=False).logits, targets, self.temperature)
            return logps.masked_fill(~seen, 0.0), entropies.masked_fill(~seen, 0.0)
        with _one_token_projected(self.projection) as caught:
            model(**inputs, use_cache=False)
        (hidden,) = caught
        wanted = hidden[seen], targets[seen]
        score = partial(_project_and_score, self.projection, self.temperature)
        parts = [
            checkpoint(score, *part, use_reentrant=False, preserve_rng_state=False)
            for part in zip(*(torch.split(tensor, self.chunk) for tensor in wanted), strict=True)
        ]
        logps, entropies = (
            torch.zeros(mask.shape, dtype=torch.float32).masked_scatter(seen, torch.cat(scores))
            for scores in zip(*parts, strict=True)
        )
        return logps, entropies

    def _score_by_trl(
        self, model: nn.Module, targets: Tensor, mask: Tensor, inputs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        output = model(**inputs, shift_labels=targets.masked_fill(mask == 0, -100), fused_lm_head=True)
        return output.log_probs, output.entropy


@contextmanager
def _one_token_projected(projection: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the (R, C, h) states that a forward would project, and lets it project those of one token only."""
    caught: list[Tensor] = []

    def keep_one(module: nn.Module, states: tuple[Tensor]) -> tuple[Tensor]:
        caught.append(states[0])
        return (states[0][:1, -1:],)

    handle = projection.register_forward_pre_hook(keep_one)
    try:
        yield caught
    finally:
        handle.remove()


def _project_and_score(
    projection: nn.Module, temperature: float, hidden: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    return _score(projection(hidden), targets, temperature)


def _score(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scores: tuple[Tensor, Tensor] = _Scores.apply(logits, targets, temperature)  # type: ignore[no-untyped-call]
    return scores


class _Scores(torch.autograd.Function):
    """Scores from logits (..., V), which alone are kept for the gradient; what is made of them fits a core's cache."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        # The entropy is seldom in the loss; its gradient would cost as much as the other.
        ctx.set_materialize_grads(False)
        flat, chosen = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1)
        logps, entropies = (flat.new_empty(len(flat), 1, dtype=torch.float32) for _ in range(2))
        for part in _parts(flat):
            scaled = _scaled(flat[part], temperature)
            every = scaled.log_softmax(-1)
            logps[part] = every.gather(-1, chosen[part])
            # This makes no other tensor of V; autocast would round it.
            with torch.autocast(logits.device.type, enabled=False):
                entropies[part, 0] = -torch.linalg.vecdot(scaled.softmax(-1), every)
        ctx.save_for_backward(logits, targets, entropies)
        ctx.temperature = temperature
        return logps.view_as(targets), entropies.view_as(targets)

    @staticmethod
    def backward(ctx: Any, grad_logps: Tensor | None, grad_entropies: Tensor | None) -> tuple[Tensor, None, None]:
        logits, targets, entropies = ctx.saved_tensors
        flat, chosen = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1)
        if grad_logps is None:
            grad_logps = torch.zeros_like(targets, dtype=torch.float32)
        by_logp = grad_logps.reshape(-1, 1) / ctx.temperature
        gradients = torch.empty_like(flat)
        for part in _parts(flat):
            scaled = _scaled(flat[part], ctx.temperature)
            probabilities = scaled.softmax(-1)
            gradient = probabilities * -by_logp[part]
            gradient.scatter_add_(-1, chosen[part], by_logp[part])
            if grad_entropies is not None:
                by_entropy = grad_entropies.reshape(-1, 1)[part] / ctx.temperature
                gradient -= (scaled.log_softmax(-1) + entropies[part]).mul_(probabilities).mul_(by_entropy)
            gradients[part] = gradient
        return gradients.view_as(logits), None, None


def _parts(flat: Tensor) -> Iterator[slice]:
    """Slices of the tokens (T, V) whose logits fit a core's cache."""
    step = max(1, _CACHED // flat.shape[1])
    return (slice(start, start + step) for start in range(0, len(flat), step))


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """A copy in float32, divided by the temperature."""
    return logits.to(torch.float32, copy=True).div_(temperature)
