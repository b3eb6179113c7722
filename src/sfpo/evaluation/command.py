"""`sfpo eval`, from arguments to a table."""

import hashlib
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import transformers
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from sfpo import disk, interrupt
from sfpo.evaluation import engines
from sfpo.evaluation.options import EvalOptions, parse
from sfpo.evaluation.records import COMPLETIONS, RESULTS, EvaluationRecords
from sfpo.evaluation.run import Answered, Result, answer, longest_prompt, summarise
from sfpo.evaluation.sampling import Sampling
from sfpo.evaluation.vllm_engine import VLLMSettings
from sfpo.model.load import load_tokenizer
from sfpo.options import command_line, free_folder, without
from sfpo.records.lock import FolderLock
from sfpo.tasks.benchmarks import Benchmark, load_benchmark

# What may change when an evaluation is continued: it says where things are and how fast they go.
_NOT_A_SETTING = {
    "output_dir", "data_path", "batch_size", "benchmarks", "limit", "trust_remote_code", "vllm_gpu_memory_utilization",
    "vllm_enforce_eager", "vllm_tensor_parallel_size",
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo eval`; returns the exit code.

    Raises:
        UsageError: anything the user can mend, before the first answer.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    options = parse(arguments)
    console = Console()
    folder = Path(options.output_dir or free_folder(f"eval-{Path(options.model).stem}"))
    again = command_line("eval", [*without(arguments, "output_dir"), "--output_dir", str(folder)])
    try:
        return _evaluate(console, options, folder, again)
    except KeyboardInterrupt:
        for line in ("", f"Stopped. {_answers_in(folder):,} answers are saved in {folder}. Continue with:", again):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return interrupt.exit_code()


def _evaluate(console: Console, options: EvalOptions, folder: Path, again: str) -> int:
    engine_name = engines.choose(options.engine, options.model)
    tokenizer = load_tokenizer(options.model, options.trust_remote_code)
    benchmarks = _load(console, options)
    with (
        FolderLock(folder, "sfpo eval") as lock,
        disk.writing_to(folder, lambda: f"mend that and continue with: {again}"),
    ):
        asked = {(b.name, problem.id, n) for b in benchmarks for problem in b.problems for n in range(options.answers)}
        records = EvaluationRecords(folder, _settings(options, engine_name, benchmarks), asked)
        missing = len(asked) - len(records.rows)
        for count, said in (
            (records.damaged, "had {} damaged row{}, now dropped; what was asked is answered again."),
            (records.foreign, "has {} row{} of other problems or samples, which do not count."),
        ):
            if count:
                written = said.format(f"{count:,}", "s" if count > 1 else "")
                console.print(f"[yellow]Warning:[/] {COMPLETIONS} {written}", soft_wrap=True)
        if records.rows:
            console.print(
                f"Continuing {escape(str(folder))}: {len(records.rows):,} answers are there, {missing:,} are to come."
            )
        if missing:
            temperature = 0.0 if options.greedy else options.temperature
            engine = engines.start(
                engine_name,
                options.model,
                tokenizer,
                Sampling(temperature, options.top_p, options.max_new_tokens),
                options.dtype,
                options.trust_remote_code,
                longest_prompt(tokenizer, benchmarks, options.prompt_template),
                VLLMSettings(
                    options.vllm_gpu_memory_utilization,
                    options.vllm_max_model_length,
                    options.vllm_enforce_eager,
                    options.vllm_tensor_parallel_size,
                ),
            )
            with interrupt.finishing("this batch of answers"):
                _answer_all(console, options, engine, tokenizer, benchmarks, records, lock)
        _finish(console, options, benchmarks, records)
    return 0


def _answers_in(folder: Path) -> int:
    try:
        return (folder / COMPLETIONS).read_bytes().count(b"\n")
    except OSError:
        return 0


def _load(console: Console, options: EvalOptions) -> list[Benchmark]:
    benchmarks = []
    for name in options.benchmarks:
        benchmark = load_benchmark(name, options.data_path)
        count, usual = len(benchmark.problems), benchmark.usual_size
        if usual is not None and count != usual:
            console.print(
                f"[yellow]Warning:[/] this copy of {benchmark.name} has {count} problems; published results are about "
                f"{usual}."
            )
        benchmarks.append(replace(benchmark, problems=benchmark.problems[: options.limit]))
    return benchmarks


def _settings(options: EvalOptions, engine: str, benchmarks: list[Benchmark]) -> dict[str, Any]:
    """What the completions depend on, the problems included: a file may change between two runs."""
    settings = {name: value for name, value in asdict(options).items() if name not in _NOT_A_SETTING}
    return settings | {
        "engine": engine,
        "samples": options.answers,
        "benchmarks": {
            b.name: {
                "problems": len(b.problems),
                "digest": hashlib.sha256(json.dumps([asdict(p) for p in b.problems]).encode()).hexdigest()[:16],
            }
            for b in benchmarks
        },
    }


def _answer_all(
    console: Console,
    options: EvalOptions,
    engine: engines.Engine,
    tokenizer: Any,
    benchmarks: list[Benchmark],
    records: EvaluationRecords,
    lock: FolderLock,
) -> None:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[right]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for benchmark in benchmarks:
            before = records.of(benchmark.name)
            started = time.monotonic()
            bar = progress.add_task(
                escape(benchmark.name),
                total=len(benchmark.problems) * options.answers,
                completed=len(before),
                right="",
            )
            answer(
                engine,
                tokenizer,
                benchmark,
                samples=options.answers,
                batch_size=options.batch_size,
                template=options.prompt_template,
                seed=options.seed,
                done={(row["id"], row["sample"]) for row in before},
                keep=_Keep(records, progress, bar, benchmark.name, lock),
            )
            if not console.is_terminal:
                result = summarise(benchmark.name, records.of(benchmark.name))
                console.print(
                    f"{escape(benchmark.name)}: {len(records.of(benchmark.name)):,} answers, "
                    f"{result.pass_at[1]:.1%} right, {time.monotonic() - started:.0f} s",
                    highlight=False,
                )


class _Keep:
    """Records a batch and shows how far the benchmark is; ends here where the user asked to stop."""

    def __init__(
        self, records: EvaluationRecords, progress: Progress, bar: TaskID, benchmark: str, lock: FolderLock
    ) -> None:
        self._records, self._progress, self._bar, self._benchmark = records, progress, bar, benchmark
        self._lock = lock

    def __call__(self, rows: list[Answered]) -> None:
        self._lock.check()
        self._records.add(rows)
        interrupt.check()
        so_far = self._records.of(self._benchmark)
        right = sum(row["correct"] for row in so_far) / len(so_far)
        self._progress.update(self._bar, completed=len(so_far), right=f"{right:.1%} right")


def _finish(console: Console, options: EvalOptions, benchmarks: list[Benchmark], records: EvaluationRecords) -> None:
    results = [summarise(benchmark.name, records.of(benchmark.name)) for benchmark in benchmarks]
    records.write_results(results, mean_pass_at_1=_mean(results))
    console.print(_table(options, results))
    if without_room := sum(row["tokens"] == 0 for row in records.rows):
        console.print(
            f"[yellow]Warning:[/] {without_room:,} answers are empty and count as wrong: their prompts fill all positions "
            "of the model.",
            soft_wrap=True,
        )
    console.print(
        f"Results      {records.folder / RESULTS}\nCompletions  {records.folder / COMPLETIONS}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _table(options: EvalOptions, results: list[Result]) -> Table:
    samples = options.answers
    draw = "greedy" if options.greedy else f"temperature {options.temperature:g}, top-p {options.top_p:g}"
    table = Table(title=f"{escape(options.model)} · avg@{samples}, {draw}", title_justify="left")
    table.add_column("benchmark")
    several = [f"pass@{samples}"] if samples > 1 else []
    for column in ("problems", "pass@1", "95 % interval", *several, "tokens", "cut off"):
        table.add_column(column, justify="right")
    for result in results:
        table.add_row(
            escape(result.benchmark),
            f"{result.problems:,}",
            f"{result.pass_at[1]:.1%}",
            f"{result.low:.1%} – {result.high:.1%}",
            *([f"{result.pass_at[samples]:.1%}"] if several else []),
            f"{result.mean_length:,.0f}",
            f"{result.cut_off:.1%}",
        )
    if len(results) > 1:
        table.add_section()
        table.add_row("mean", "", f"{_mean(results):.1%}")
    return table


def _mean(results: list[Result]) -> float:
    """Over benchmarks, each with the same weight, as the paper reports it."""
    return sum(result.pass_at[1] for result in results) / len(results)
