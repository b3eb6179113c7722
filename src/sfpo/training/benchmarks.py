"""Benchmarks while a model trains: rows of the kind "benchmark" in the run's `metrics.jsonl`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sfpo.evaluation.engines import TransformersEngine
from sfpo.evaluation.run import Answered, answer, summarise
from sfpo.evaluation.sampling import Sampling
from sfpo.tasks.benchmarks import load_benchmark
from sfpo.tasks.catalog import names_of
from sfpo.training.first_process import as_the_first
from sfpo.training.own_options import TrainOptions
from sfpo.training.records import RunRecords
from sfpo.trl import SFPOConfig

# The paper samples its evaluations more narrowly than its rollouts.
_TEMPERATURE, _TOP_P = 1.0, 0.7


class TrainingBenchmarks:
    """The benchmarks that `--eval_benchmarks` names, loaded before the training starts.

    Raises:
        UsageError: a benchmark is unknown or cannot be had.
    """

    def __init__(self, options: TrainOptions, training: SFPOConfig) -> None:
        names = names_of(options.eval_benchmarks, "eval_benchmarks") if options.eval_benchmarks else []
        self._options = options
        self._training = training
        self._benchmarks = []
        for name in names:
            benchmark = load_benchmark(name, options.benchmark_data_path, "benchmark_data_path")
            self._benchmarks.append(replace(benchmark, problems=benchmark.problems[: options.eval_limit]))

    def measure(self, step: int, model: Any, tokenizer: Any, records: RunRecords, check: Callable[[], None]) -> None:
        """Add a row for each benchmark that has none at this step yet.

        Args:
            check: called after each batch of answers; it may raise to leave.
        """
        sampling = Sampling(_TEMPERATURE, _TOP_P, self._training.max_completion_length)
        for benchmark in self._benchmarks:
            if as_the_first(records.has_metrics("benchmark", step, benchmark=benchmark.name)):
                continue
            rows: list[Answered] = []

            def keep(batch: list[Answered], rows: list[Answered] = rows) -> None:
                rows.extend(batch)
                check()

            answer(
                TransformersEngine(model, tokenizer, sampling),
                tokenizer,
                benchmark,
                samples=self._options.eval_samples,
                batch_size=self._options.eval_batch_size,
                template="boxed" if self._options.prompt_template == "auto" else self._options.prompt_template,
                seed=0,
                chat_template_kwargs=self._training.chat_template_kwargs,
                keep=keep,
            )
            records.add_metrics("benchmark", step, summarise(benchmark.name, rows).as_row())
