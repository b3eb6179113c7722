"""Scores made both ways before they count: as the passes and the sampler make them, and by plain forwards.

A plain forward is one row alone, without padding, through TRL's head. What a model allows is decided from its class and its
configuration (`sfpo.model.capabilities`); this finds where that was wrong, and says in one line what it switches off.

Shapes: R rows, P prompt columns, C completion columns.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn

from sfpo.errors import UsageError
from sfpo.model.sampler import Sampled
from sfpo.trl.compact import Rows, split_rows
from sfpo.trl.host import HAS_FUSED_HEAD
from sfpo.trl.scoring import Scorer, Scores

_LOGGER = logging.getLogger(__name__)
_PROMPTS_AHEAD, _COMPLETIONS_AHEAD = 1.25, 2
"""How far beyond a batch's longest rows a check looks, so that rows that grow need few checks."""
_LEAST_PROMPT = 24
"""Tokens of the longer prompt of a check, so that what both prompts begin with is long enough to be encoded once."""


@dataclass(frozen=True)
class _Bounds:
    """What rounding may do.

    Attributes:
        score: the root mean square of differences in a row's log-probabilities or entropies, in nats.
        gradient: the difference in any weight's gradient, as a share of the norm of the whole.
    """

    score: float
    gradient: float

    @classmethod
    def of(cls, trainer: Any) -> "_Bounds":
        # Quantized weights are bytes, and are multiplied in half precision.
        sizes = {weight.dtype.itemsize for weight in trainer.model.parameters()}
        in_float32 = trainer.accelerator.mixed_precision == "no" and min(sizes) >= 4
        in_tf32 = trainer.accelerator.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
        return cls(2e-3, 5e-3) if in_float32 and not in_tf32 else cls(0.2, 0.1)


@dataclass(frozen=True)
class _Pass:
    """Scores (R, C) without their graph and, where it was taken, the gradient in two numbers a weight."""

    scores: Scores
    gradient: Tensor | None

    def apart(self, other: "_Pass", mask: Tensor) -> Tensor:
        """Largest differences of scores and of gradients between two passes, in the units of `_Bounds`."""
        pairs = zip(self.scores, other.scores, strict=True)
        rows = torch.stack([((one - another) ** 2 * mask).sum(1) / mask.sum(1) for one, another in pairs])
        gradients = rows.new_zeros(())
        if self.gradient is not None and other.gradient is not None:
            gradients = (self.gradient - other.gradient).abs().max()
            gradients = gradients / other.gradient[:, 0].norm().clamp(min=torch.finfo(torch.float32).tiny)
        return torch.stack([rows.max().sqrt(), gradients.to(rows)])


class ScoreCheck:
    """Checks a trainer's scoring at the start, and again when rows are longer than what was checked.

    The rows are made of a batch's tokens: two prompts, one of them the beginning of the other, and three completions of uneven
    lengths. At the start of training, gradients are compared too, and one pass is made twice: what it gives must be the same,
    or the passes of a step do not share one objective.
    """

    def __init__(self, trainer: Any, scorer: Scorer) -> None:
        self._trainer = trainer
        self._scorer = scorer
        self._right: list[tuple[int, int]] = []
        """Columns of prompts and of completions up to which scores are known to be right."""
        self._made_twice = False

    def before_scoring(
        self, model: nn.Module, input_ids: Tensor, attention_mask: Tensor, completion_length: int
    ) -> None:
        """Check rows like these (R, P + C), which are about to be scored, unless such rows are known to be scored right.

        Raises:
            UsageError: they are not, and `self_check_fatal` is set.
        """
        rows = split_rows(input_ids, attention_mask, completion_length)
        sizes = [
            rows.prompt_mask.sum(1).max(),
            rows.completion_mask.sum(1).max(),
            rows.prompt_ids.new_tensor(input_ids.shape[1]),
        ]
        prompt, completion, columns = self._trainer.accelerator.gather(torch.stack(sizes)[None]).amax(0).tolist()
        # In the first loss, where gradients can be compared. Without a graph only a reference, or π_old, is scored.
        twice = not self._made_twice and self._trainer.model.training and torch.is_grad_enabled()
        is_known = any(prompt <= right[0] and completion <= right[1] for right in self._right)
        ours = self._scorer.scores(model, columns) and (twice or not is_known)
        if not (ours or twice) or completion == 0:
            return
        size = self._ahead(prompt, completion)
        with _random_numbers_kept(self._trainer.accelerator.device), self._trainer.accelerator.autocast():
            self._check(model, _uneven(rows, *size), ours, twice)
        if ours:
            self._right.append(size)
        self._made_twice |= twice

    def _ahead(self, prompt: int, completion: int) -> tuple[int, int]:
        """The columns to check, somewhat more than these as far as the model and the settings allow."""
        model = self._trainer.model
        limits = [getattr(model.config.get_text_config(), "max_position_embeddings", None), self._scorer.longest]
        room = min((limit for limit in limits if limit is not None), default=math.inf)
        further = min(_COMPLETIONS_AHEAD * completion, self._trainer.args.max_completion_length, room - prompt)
        completion = max(completion, int(further))
        further = min(max(_LEAST_PROMPT, _PROMPTS_AHEAD * prompt), room - completion)
        return max(prompt, int(further)), completion

    def _check(self, model: nn.Module, rows: Rows, ours: bool, twice: bool) -> None:
        with_gradient = twice and self._may_take_gradient(model)
        mask = rows.completion_mask
        bounds = _Bounds.of(self._trainer)

        def make(score: Callable[[nn.Module, Rows], Scores]) -> _Pass:
            return _make_pass(score, model, rows, with_gradient)

        temperature = self._trainer.temperature

        def plainly(model: nn.Module, rows: Rows) -> Scores:
            return score_plainly(model, rows, temperature)

        score, made = plainly, make(plainly)
        if ours:
            try:
                compact, what = make(self._scorer.score_thoroughly), None
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever a model that is not known may raise when it is used so
                compact, what = None, f"do not work with this model ({_words(error)})"
            apart = (
                mask.new_full((2,), math.inf, dtype=torch.float32) if compact is None else compact.apart(made, mask)
            )
            scores, gradients = self._over_all(apart)
            if compact is not None and scores <= bounds.score and gradients <= bounds.gradient:
                score, made = self._scorer.score_thoroughly, compact
            else:
                self._scorer.switch_off()
                what = what or (
                    f"do not give this model's own scores and gradients, but others by {scores:.2g} nats a token and "
                    f"{gradients:.2g} of the gradient's norm"
                )
                _say(self._trainer, f"compact passes {what}: they are switched off, and TRL scores from here on")
        if twice:
            scores, gradients = self._over_all(make(score).apart(made, mask))
            if not (scores <= bounds.score and gradients <= bounds.gradient):
                _say(
                    self._trainer,
                    f"one pass made twice gave log-probabilities {scores:.2g} nats and gradients {gradients:.0%} apart: something "
                    "in the model is random while it trains, so that the passes of a step do not share one objective",
                )

    def _may_take_gradient(self, model: nn.Module) -> bool:
        """Whether a gradient can be made and dropped: on one process, before the first of the run."""
        return self._trainer.accelerator.distributed_type == DistributedType.NO and all(
            weight.grad is None for weight in model.parameters()
        )

    def _over_all(self, apart: Tensor) -> tuple[float, float]:
        scores, gradients = self._trainer.accelerator.gather(apart[None]).amax(0).tolist()
        return scores, gradients


class SamplerCheck:
    """Checks the sampler's log-probabilities and entropies on the first batch it samples, and on rows longer than any before."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._longest = 0

    def checked(self, prompt_ids: list[list[int]], sample: Callable[[], Sampled]) -> Sampled | None:
        """What is sampled; None where it is not from the model's own probabilities, after it was said that this ends.

        Raises:
            UsageError: it is not, and `self_check_fatal` is set.
        """
        try:
            sampled = sample()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model that is not known may raise when it is used so
            if self._longest > 0:
                raise
            what = f"does not work with this model ({_words(error)})"
        else:
            apart = self._distance(prompt_ids, sampled)
            if apart <= _Bounds.of(self._trainer).score:
                return sampled
            what = f"does not draw from this model's own probabilities, but from others by {apart:.2g} nats a token"
        _say(self._trainer, f"the compact sampler {what}: it is switched off, and transformers samples from here on")
        return None

    def _distance(self, prompt_ids: list[list[int]], sampled: Sampled) -> float:
        """How far off the longest row is if it is longer than any before, and at first the one with the shortest prompt."""
        lengths = [len(prompt) + len(ids) for prompt, ids in zip(prompt_ids, sampled.completion_ids, strict=True)]
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        if lengths[longest] <= self._longest:
            return 0.0
        rows = {longest}
        if self._longest == 0:
            rows.add(min(range(len(prompt_ids)), key=lambda row: len(prompt_ids[row])))
        self._longest = lengths[longest]
        with torch.no_grad(), self._trainer.accelerator.autocast():
            return max(self._apart(prompt_ids[row], sampled, row) for row in rows)

    def _apart(self, prompt: list[int], sampled: Sampled, row: int) -> float:
        device = self._trainer.accelerator.device
        prompt_ids, completion_ids = (
            torch.tensor([ids], device=device) for ids in (prompt, sampled.completion_ids[row])
        )
        rows = Rows(prompt_ids, torch.ones_like(prompt_ids), completion_ids, torch.ones_like(completion_ids))
        theirs = score_plainly(self._trainer.model, rows, self._trainer.temperature)
        ours = (torch.tensor([values[row]], device=device) for values in (sampled.log_probs, sampled.entropies))
        differences = [(one - other).pow(2).mean().sqrt() for one, other in zip(ours, theirs, strict=True)]
        return float(torch.stack(differences).max().nan_to_num(math.inf))


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _say(trainer: Any, text: str) -> None:
    """One line of what was found, or the end of training with it."""
    if trainer.args.self_check_fatal:
        raise UsageError(f"self-check: {text} (self_check_fatal is set)")
    if trainer.accelerator.is_main_process:
        _LOGGER.warning(f"SFPO's self-check: {text}")


def score_plainly(model: nn.Module, rows: Rows, temperature: float) -> Scores:
    """Log-probabilities and entropies (R, C) of rows that have tokens, each in a forward of its own, without padding."""
    scores: tuple[list[Tensor], list[Tensor]] = ([], [])
    columns = rows.completion_ids.shape[1]
    for row in range(len(rows.prompt_ids)):
        prompt = rows.prompt_ids[row][rows.prompt_mask[row] == 1]
        completion = rows.completion_ids[row][rows.completion_mask[row] == 1]
        ids = torch.cat([prompt, completion])[None]
        labels = torch.cat([torch.full_like(prompt, -100), completion])[None]
        for of_row, of_all in zip(_forward(model, ids, labels, temperature), scores, strict=True):
            of_all.append(nn.functional.pad(of_row[0, -len(completion) :].float(), (0, columns - len(completion))))
    return torch.stack(scores[0]), torch.stack(scores[1])


def _forward(model: nn.Module, ids: Tensor, labels: Tensor, temperature: float) -> Scores:
    """Log-probabilities and entropies (1, T - 1) of the labels that follow the first token of a row."""
    mask = torch.ones_like(ids)
    if HAS_FUSED_HEAD:  # TRL has given it the temperature
        output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
        return output.log_probs, output.entropy
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float() / temperature
    logps = logits.log_softmax(-1)
    return logps.gather(-1, ids[:, 1:, None])[..., 0], -(logps.exp() * logps).sum(-1)


def _make_pass(score: Callable[[nn.Module, Rows], Scores], model: nn.Module, rows: Rows, with_gradient: bool) -> _Pass:
    with torch.set_grad_enabled(with_gradient):
        logps, entropies = score(model, rows)
    gradient = None
    if with_gradient:
        # Signs that alternate, so that equal shares of a wrong gradient do not cancel out.
        signs = 1 - 2 * (torch.arange(logps.shape[1], device=logps.device) % 2)
        torch.autograd.backward((logps * signs * rows.completion_mask).mean())
        gradient = torch.stack([_in_two_numbers(weight) for weight in model.parameters() if weight.requires_grad])
        model.zero_grad()
    return _Pass((logps.detach(), entropies.detach()), gradient)


@torch.no_grad()
def _in_two_numbers(weight: Tensor) -> Tensor:
    """The norm of a weight's gradient, and the gradient along the weight."""
    if weight.grad is None:
        return torch.zeros(2, device=weight.device)
    gradient, direction = weight.grad.float(), weight.float()
    along = (gradient * direction).sum() / direction.norm().clamp(min=torch.finfo(torch.float32).tiny)
    return torch.stack([gradient.norm(), along])


def _uneven(rows: Rows, prompt: int, completion: int) -> Rows:
    """Three rows of these many columns at most, made of the tokens of others."""
    longest = int(rows.prompt_mask.sum(1).argmax())
    prompt_tokens = _repeated(rows.prompt_ids[longest][rows.prompt_mask[longest] == 1], prompt)
    tokens = rows.completion_ids[rows.completion_mask == 1]
    # A process may have no token where others have some.
    tokens = _repeated(tokens if len(tokens) else prompt_tokens, 2 * completion)
    prompts = [prompt_tokens, prompt_tokens, prompt_tokens[: max(1, 2 * prompt // 3)]]
    completions = [
        tokens[start : start + max(1, completion // share)] for start, share in ((0, 1), (1, 2), (completion // 2, 4))
    ]
    return Rows(*_padded(prompts, "left"), *_padded(completions, "right"))


def _padded(parts: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Tokens and their mask."""
    tokens, mask = (
        nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_side=side)
        for sequences in (parts, [torch.ones_like(part) for part in parts])
    )
    return tokens, mask


def _repeated(tokens: Tensor, length: int) -> Tensor:
    return tokens.repeat(-(-length // len(tokens)))[:length]


def _random_numbers_kept(device: torch.device) -> Any:
    """Leaves the random numbers of what follows as they would be without what it surrounds."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
