"""How far each pass has moved from the policy that sampled: importance ratio, KL, clipping, entropy, gradient norm."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


class PassMetrics:
    """Sums over the completion tokens of one pass, micro-batch by micro-batch."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._max_ratio: Tensor | None = None
        self._grad_norms: list[float] = []
        self._kl: Tensor | None = None
        self._kl_before: Tensor | float = 0.0

    @torch.no_grad()
    def add(
        self,
        logps: Tensor,
        old_logps: Tensor,
        entropies: Tensor,
        mask: Tensor,
        with_gradient: Tensor,
        advantages: Tensor,
        level: str,
        band: tuple[float, float],
    ) -> None:
        """Take in one micro-batch.

        Args:
            logps, old_logps, entropies, mask: (rows, tokens); log-probabilities now and at θ_0, entropy in nats, 1 for
                completion tokens.
            with_gradient: (rows,) True for the completions that `kl` and `latest_kl` are taken over.
            advantages: (rows,) or (rows, tokens).
            level: what the loss clips: "token" ratios, the "sequence" mean (GSPO) or the "sequence_sum" (RLOO).
            band: the clipping range of the ratio.
        """
        mask = mask.bool()
        log_ratio = torch.where(mask, logps - old_logps, 0.0).float()
        ratio = log_ratio.exp()
        clipped_ratio = ratio
        if level != "token":
            total = log_ratio.sum(-1, keepdim=True)
            if level == "sequence":
                total = total / mask.sum(-1, keepdim=True).clamp(min=1)
            clipped_ratio = total.exp()
        if advantages.dim() == 1:
            advantages = advantages.unsqueeze(1)
        low, high = band
        clipped = ((clipped_ratio < low) & (advantages < 0)) | ((clipped_ratio > high) & (advantages > 0))
        # KL(π_θ0 ‖ π_θ) from samples of π_θ0: r - 1 - log r is unbiased and never negative.
        kl = ratio - 1 - log_ratio
        terms = (ratio, kl, clipped.expand_as(mask), torch.where(mask, entropies, 0.0), torch.ones_like(ratio))
        sums = torch.stack([(term.float() * mask).sum() for term in terms])
        counted = mask & with_gradient[:, None]
        kl_sums = torch.stack([torch.where(counted, kl, 0.0).sum(), counted.sum().float()])
        self._kl = kl_sums if self._kl is None else self._kl + kl_sums
        max_ratio = ratio.masked_fill(~mask, -math.inf).max()
        self._sums = sums if self._sums is None else self._sums + sums
        self._max_ratio = max_ratio if self._max_ratio is None else torch.maximum(self._max_ratio, max_ratio)

    def add_grad_norm(self, grad_norm: float) -> None:
        """Take in the norm of one optimizer step's gradient, before clipping."""
        self._grad_norms.append(grad_norm)

    @property
    def latest_grad_norm(self) -> float:
        """The norm that was taken in last."""
        return self._grad_norms[-1]

    def kl(self, reduce: Callable[[Tensor, str], Tensor]) -> float:
        """KL to θ_0, in nats a token of the completions with a gradient, of all processes."""
        return self._mean_kl(self._taken_in(), reduce)

    def latest_kl(self, reduce: Callable[[Tensor, str], Tensor]) -> float:
        """The same over what was taken in since this was asked last."""
        latest, self._kl_before = self._taken_in() - self._kl_before, self._taken_in()
        return self._mean_kl(latest, reduce)

    def _taken_in(self) -> Tensor:
        if self._kl is None:
            raise RuntimeError("no micro-batch was taken in")
        return self._kl

    @staticmethod
    def _mean_kl(sums: Tensor, reduce: Callable[[Tensor, str], Tensor]) -> float:
        kl, tokens = reduce(sums, "sum").tolist()
        return float(kl / max(tokens, 1.0))

    def summary(self, reduce: Callable[[Tensor, str], Tensor]) -> dict[str, float]:
        """Means over all tokens of all processes; `reduce(tensor, "sum" | "max")` combines the processes."""
        if self._sums is None or self._max_ratio is None:
            raise RuntimeError("no micro-batch was taken in")
        ratio, kl, clipped, entropy, tokens = reduce(self._sums, "sum").tolist()
        tokens = max(tokens, 1.0)
        norms = self._grad_norms
        return {
            "ratio_mean": ratio / tokens,
            "ratio_max": float(reduce(self._max_ratio, "max")),
            "kl": kl / tokens,
            "clip_fraction": clipped / tokens,
            "entropy": entropy / tokens,
            "grad_norm": sum(norms) / len(norms) if norms else math.nan,
        }
