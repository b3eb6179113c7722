"""The KL that α is chosen by, measured on what verl gives to its loss, and the completions that it is measured on."""

from typing import Any

import torch
from torch import Tensor
from verl.utils.device import get_device_id
from verl.workers.utils.padding import no_padding_2_padding


class KLMeter:
    """Measures KL(π_old ‖ π_θ) in the course of a pass, in nats a token, over all ranks.

    The estimator is r - 1 - log r with r = π_θ / π_old (k3): unbiased for samples of π_old, and never negative. π_old are
    the batch's `old_log_probs`, verl's own scores at θ_0. The mean is over the response tokens of completions with an
    advantage, or of all of them. verl's `actor/ppo_kl` is something else: the mean of -log r over all completions.

    Each mini-batch is measured at the weights that it was made at, before its optimizer step.

    Args:
        every_row_counts: whether completions without an advantage count as well, because the loss has a gradient in them.
    """

    def __init__(self, every_row_counts: bool) -> None:
        self._every_row_counts = every_row_counts
        self._sums: list[Tensor] = []
        """Of each mini-batch of the pass: the KL and the tokens, summed on this rank."""

    def start_pass(self) -> None:
        """Forget the pass before."""
        self._sums = []

    def start_mini_batch(self) -> None:
        """What is added from here on belongs to the next mini-batch."""
        self._sums.append(torch.zeros(2, device=get_device_id()))

    @torch.no_grad()
    def add(self, model_output: Any, data: Any) -> None:
        """Take in one micro-batch as verl's loss is given it, with the log-probabilities of all its tokens."""
        scores = no_padding_2_padding(model_output["log_probs"], data)
        fields = data.select("response_mask", "old_log_probs", "advantages").to_padded_tensor()
        counted = fields["response_mask"].bool()
        if not self._every_row_counts:
            counted = counted & _with_advantage(fields)[:, None]
        log_ratio = torch.where(counted, scores - fields["old_log_probs"], 0.0).float()
        # Not exp(...) - 1, whose rounding is as large as the KL where the policy has hardly moved.
        kl = torch.expm1(log_ratio) - log_ratio
        self._sums[-1] += torch.stack([kl.sum(), counted.sum()])

    def of_pass(self) -> float:
        """The mean over the pass.

        Raises:
            RuntimeError: nothing was measured; a KL of 0 would extrapolate as far as α may go.
        """
        kl, tokens = _over_all_ranks(torch.stack(self._sums).sum(0))
        if tokens == 0:
            raise RuntimeError("no response token that counts was given to verl's loss in this pass")
        return kl / tokens

    def of_first_mini_batch(self) -> float | None:
        """The mean at the weights that the pass started from; None where nothing in that mini-batch counts."""
        kl, tokens = _over_all_ranks(self._sums[0])
        return kl / tokens if tokens > 0 else None


def active_share(data: Any) -> float:
    """The share of the completions of all ranks that have an advantage; 0 where there are none."""
    fields = data.select("response_mask", "advantages").to_padded_tensor()
    # verl pads batches with rows of which no token counts.
    sampled = fields["response_mask"].bool().any(dim=1)
    counts = torch.stack([_with_advantage(fields).sum(), sampled.sum()])
    active, rows = _over_all_ranks(counts.float().to(get_device_id()))
    return active / max(rows, 1.0)


def _with_advantage(fields: Any) -> Tensor:
    """(rows,) True where some response token's advantage is not 0, of padded (rows, tokens) fields."""
    with_advantage: Tensor = (fields["response_mask"].bool() & (fields["advantages"] != 0)).any(dim=1)
    return with_advantage


def _over_all_ranks(pair: Tensor) -> tuple[float, float]:
    """The sums over the ranks, the same bits on each."""
    # Of all ranks, not only the data-parallel ones: those that share rows then add the same to both sums of a mean.
    summed = pair.clone()
    torch.distributed.all_reduce(summed)
    first, second = summed.tolist()
    return first, second
