"""Log-probabilities and entropies of tokens by the head that is quickest where the model lives.

TRL's head never holds all logits: it goes through the vocabulary in tiles and computes each again for the gradient. That is
right for accelerators, where it is a Triton kernel. On a CPU it is a dozen passes over memory for each tile, so there the
model's own logits are taken, as long as they are few enough; probabilities are made of them in small chunks.

Shapes: R rows, C tokens, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_CHUNK = 2**19
"""Logits that probabilities are made of at a time, so that these stay in a core's cache; those of one token at least."""
_MOST_BYTES = 2**30
"""Size of a micro-batch's logits above which TRL's head takes over: they are kept for the gradient, which is as large."""


@dataclass(frozen=True)
class Head:
    """How the log-probabilities of a micro-batch are made.

    Attributes:
        temperature: what logits are divided by, as in the rollouts.
        own_logits: take the logits from the model's own forward; TRL's fused head otherwise.
    """

    temperature: float
    own_logits: bool

    @classmethod
    def of(cls, model: Any, tokens: int, *, temperature: float, in_float32: bool) -> "Head":
        """The head for so many scored tokens of a model.

        Args:
            model: the model as a `PreTrainedModel`, whatever it may be wrapped in elsewhere.
            in_float32: whether the projection is to be made in float32 whatever the autocast, which only TRL's head does.
        """
        size = (torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else model.dtype).itemsize
        few = tokens * model.config.get_text_config().vocab_size * size <= _MOST_BYTES
        return cls(temperature, model.device.type == "cpu" and not in_float32 and few)

    def score(self, model: nn.Module, targets: Tensor, mask: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (nats) of `targets`, both (R, C) in float32, 0 where the mask (R, C) is.

        Each position of `inputs` predicts the target of the same place.
        """
        if not self.own_logits:
            output = model(**inputs, shift_labels=targets.masked_fill(mask == 0, -100), fused_lm_head=True)
            return output.log_probs, output.entropy
        logits = model(**inputs, use_cache=False).logits
        scores: tuple[Tensor, Tensor] = _Scores.apply(logits, targets, self.temperature)  # type: ignore[no-untyped-call]
        logps, entropies = (score.masked_fill(mask == 0, 0.0) for score in scores)
        return logps, entropies


class _Scores(torch.autograd.Function):
    """Scores from logits (R, C, V), which alone are kept for the gradient; what is made of them fits a core's cache."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        # The entropy is seldom in the loss; its gradient would cost as much as the other.
        ctx.set_materialize_grads(False)
        flat, chosen = logits.flatten(0, 1), targets.reshape(-1, 1)
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
        flat, chosen = logits.flatten(0, 1), targets.reshape(-1, 1)
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
    """Slices of the tokens (T, V) whose logits make a chunk."""
    step = max(1, _CHUNK // flat.shape[1])
    return (slice(start, start + step) for start in range(0, len(flat), step))


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """A copy in float32, divided by the temperature."""
    return logits.to(torch.float32, copy=True).div_(temperature)
