"""One benchmark, from problems to graded completions and a result."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sfpo.evaluation.engines import Engine
from sfpo.evaluation.sampling import Completion, encode
from sfpo.json_object import Shape
from sfpo.records.pass_at_k import mean_pass_at_k, pass_at_1
from sfpo.tasks.benchmarks import Benchmark, Problem
from sfpo.tasks.templates import as_prompt

Answered = dict[str, Any]
"""One completion with its verdict, as `completions.jsonl` has it."""
ANSWERED: dict[str, Shape] = {
    "benchmark": str,
    "id": str,
    "sample": int,
    "prompt": str,
    "completion": str,
    "answer": str,
    "status": str,
    "correct": bool,
    "tokens": int,
    "cut_off": bool,
}
"""What such a row has; for `status` see `sfpo.grading.Status`."""


@dataclass(frozen=True)
class Result:
    """A benchmark's score. `low` and `high` bound pass@1 with 95 % confidence; lengths are in tokens."""

    benchmark: str
    problems: int
    samples: int
    pass_at: dict[int, float]
    low: float
    high: float
    mean_length: float
    cut_off: float
    verdicts: dict[str, int]

    def as_row(self) -> dict[str, Any]:
        """Flat, for JSON: `pass@1`, its interval, `pass@k` and the rest."""
        return {
            "benchmark": self.benchmark,
            "problems": self.problems,
            "samples": self.samples,
            **{f"pass@{k}": value for k, value in self.pass_at.items()},
            "pass@1_low": self.low,
            "pass@1_high": self.high,
            "mean_length": self.mean_length,
            "cut_off": self.cut_off,
            "verdicts": self.verdicts,
        }


def answer(
    engine: Engine,
    tokenizer: Any,
    benchmark: Benchmark,
    *,
    samples: int,
    batch_size: int,
    template: str,
    seed: int,
    chat_template_kwargs: dict[str, Any] | None = None,
    done: AbstractSet[tuple[str, int]] = frozenset(),
    keep: Callable[[list[Answered]], None],
) -> None:
    """Answer each problem `samples` times and give each graded batch to `keep`.

    Args:
        done: problem ids and sample numbers that were answered before. A batch of which some are missing is made whole, and
            of it only those are kept: sums round differently in batches of other sizes.
    """
    wanted = [(problem, number) for problem in benchmark.problems for number in range(samples)]
    for start in range(0, len(wanted), batch_size):
        batch = wanted[start : start + batch_size]
        missing = [(problem.id, number) not in done for problem, number in batch]
        if not any(missing):
            continue
        prompts = [as_prompt(problem.problem, template) for problem, _ in batch]
        # Seeds name the completion, so that a run that was interrupted goes on as it would have.
        seeds = [zlib.crc32(f"{seed} {benchmark.name} {problem.id} {number}".encode()) for problem, number in batch]
        completions = _complete(engine, encode(tokenizer, prompts, chat_template_kwargs), seeds)
        verdicts = _grade([problem for problem, _ in batch], [completion.text for completion in completions])
        keep(
            [
                {
                    "benchmark": benchmark.name,
                    "id": problem.id,
                    "sample": number,
                    "prompt": prompt,
                    "completion": completion.text,
                    "answer": problem.answer,
                    "status": status,
                    "correct": status == "correct",
                    "tokens": completion.tokens,
                    "cut_off": completion.cut_off,
                }
                for (problem, number), prompt, completion, status, is_missing in zip(
                    batch, prompts, completions, verdicts, missing, strict=True
                )
                if is_missing
            ]
        )


def longest_prompt(
    tokenizer: Any, benchmarks: Sequence[Benchmark], template: str, chat_template_kwargs: dict[str, Any] | None = None
) -> int:
    """Tokens of the longest prompt."""
    prompts = [as_prompt(problem.problem, template) for benchmark in benchmarks for problem in benchmark.problems]
    return max(map(len, encode(tokenizer, prompts, chat_template_kwargs)))


def summarise(benchmark: str, rows: Sequence[Answered]) -> Result:
    """The score of a benchmark's completions, of which each problem has the same number."""
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        verdicts.setdefault(row["id"], []).append(row["correct"])
    problems = list(verdicts.values())
    samples = len(problems[0])
    estimate = pass_at_1(problems)
    return Result(
        benchmark=benchmark,
        problems=len(problems),
        samples=samples,
        pass_at={k: mean_pass_at_k(problems, k) for k in _powers_of_two(samples)},
        low=estimate.low,
        high=estimate.high,
        mean_length=sum(row["tokens"] for row in rows) / len(rows),
        cut_off=sum(row["cut_off"] for row in rows) / len(rows),
        verdicts=dict(Counter(row["status"] for row in rows)),
    )


def _complete(engine: Engine, prompts: list[list[int]], seeds: list[int]) -> list[Completion]:
    """The engine's completions; a prompt that leaves the model no room gets an empty one that is cut off."""
    fitting = [
        index for index, prompt in enumerate(prompts) if engine.positions is None or len(prompt) < engine.positions
    ]
    completions = [Completion("", 0, True)] * len(prompts)
    if fitting:
        made = engine.generate([prompts[index] for index in fitting], [seeds[index] for index in fitting])
        for index, completion in zip(fitting, made, strict=True):
            completions[index] = completion
    return completions


def _powers_of_two(samples: int) -> Iterable[int]:
    """1, 2, 4 ... and the number of samples itself."""
    return sorted({2**power for power in range(samples.bit_length()) if 2**power <= samples} | {samples})


def _grade(problems: Sequence[Problem], texts: Sequence[str]) -> list[str]:
    from sfpo.grading import grade_all

    pairs = [(problem.answer, text) for problem, text in zip(problems, texts, strict=True)]
    return [verdict.status for verdict in grade_all(pairs)]
