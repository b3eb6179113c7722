"""Log-probabilities and entropies of tokens by the head that is quickest where the model lives.

TRL's head never holds all logits: it goes through the vocabulary in tiles and computes each again for the gradient. That is
right for accelerators, where it is a Triton kernel. On a CPU it is a dozen passes over memory for each tile, so there the
model's own logits are taken, as long as few enough are alive at a time.

Shapes: R rows, C tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_MOST_LOGITS = 2**27
"""Logits of a micro-batch above which TRL's head takes over; their probabilities are kept for the gradient (512 MiB)."""


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
        vocabulary = model.config.get_text_config().vocab_size
        on_cpu = model.device.type == "cpu"
        return cls(temperature, on_cpu and not in_float32 and tokens * vocabulary <= _MOST_LOGITS)

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
    """Scores from logits (R, C, V), with the probabilities alone kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        # The entropy is seldom in the loss; its gradient would cost as much as the other.
        ctx.set_materialize_grads(False)
        scaled = logits.float() if temperature == 1 else logits.float() / temperature
        logps = scaled.log_softmax(-1)
        probabilities = logps.exp()
        # As a product of vectors this makes no tensor of V; autocast would round it.
        with torch.autocast(logits.device.type, enabled=False):
            entropies = -(probabilities[..., None, :] @ logps[..., None])[..., 0, 0]
        chosen = logps.gather(-1, targets[..., None])[..., 0]
        ctx.save_for_backward(probabilities, targets, entropies)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        return chosen, entropies

    @staticmethod
    def backward(ctx: Any, grad_logps: Tensor | None, grad_entropies: Tensor | None) -> tuple[Tensor, None, None]:
        probabilities, targets, entropies = ctx.saved_tensors
        if grad_logps is None:
            gradient = torch.zeros_like(probabilities)
        else:
            gradient = probabilities * -grad_logps[..., None]
            gradient.scatter_add_(-1, targets[..., None], grad_logps[..., None])
        if grad_entropies is not None:
            surprise = torch.xlogy(probabilities, probabilities) + probabilities * entropies[..., None]
            gradient -= surprise * grad_entropies[..., None]
        if ctx.temperature != 1:
            gradient /= ctx.temperature
        return gradient.to(ctx.dtype), None, None
