"""Accuracy on held-out problems."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from sfpo.errors import UsageError
from sfpo.tasks import Task
from sfpo.trl import SFPOTrainer
from sfpo.trl.host import Host


@dataclass(frozen=True)
class Evaluation:
    """One sampled answer to each held-out problem: the share that is right, and the mean length in tokens."""

    accuracy: float
    mean_length: float
    cut_off: float
    problems: int


def evaluate(
    trainer: SFPOTrainer, tokenizer: Any, task: Task, batch_size: int, check: Callable[[], None]
) -> Evaluation:
    """Answer every held-out problem as rollouts are sampled, and grade the answers.

    The same random numbers are used each time, and the trainer's are left as they were, so how often one evaluates does
    not change the training.

    Args:
        check: called before each batch; it may raise to leave.
    """
    lengths: list[int] = []
    scores: list[float | None] = []
    cut_off = 0
    ends = set(Host.of(trainer).end_ids)
    was_training = trainer.model.training
    trainer.model.eval()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for start in range(0, len(task.held_out), batch_size):
                check()
                rows = task.held_out.select(range(start, min(start + batch_size, len(task.held_out))))
                completion_ids = trainer.complete(_tokenize(tokenizer, rows["prompt"], trainer.chat_template_kwargs))
                lengths += [len(ids) for ids in completion_ids]
                cut_off += sum(ids[-1] not in ends for ids in completion_ids)
                completions = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
                columns = {name: rows[name] for name in rows.column_names if name != "prompt"}
                scores += task.reward(prompts=rows["prompt"], completions=completions, **columns)
    finally:
        trainer.model.train(was_training)
    judged = [score for score in scores if score is not None]
    return Evaluation(
        accuracy=sum(score >= 1.0 for score in judged) / max(1, len(judged)),
        mean_length=sum(lengths) / len(lengths),
        cut_off=cut_off / len(lengths),
        problems=len(judged),
    )


def as_prompts(tokenizer: Any, data: Dataset) -> Dataset:
    """Prompts as TRL should see them: turns of a conversation where the tokenizer has a chat template.

    Raises:
        UsageError: they are conversations, and it has none.
    """
    if tokenizer.chat_template is None:
        if not isinstance(data[0]["prompt"], str):
            raise UsageError("the prompts are conversations, and the model has no chat template: choose one that has")
        return data
    return data.map(lambda row: {"prompt": _conversation(row["prompt"])})


def _conversation(prompt: str | list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _tokenize(tokenizer: Any, prompts: list[Any], chat_template_kwargs: dict[str, Any]) -> list[list[int]]:
    if tokenizer.chat_template is None:
        return [tokenizer(prompt)["input_ids"] for prompt in prompts]
    return [
        tokenizer.apply_chat_template(
            _conversation(prompt), add_generation_prompt=True, tokenize=True, return_dict=True, **chat_template_kwargs
        )["input_ids"]
        for prompt in prompts
    ]
