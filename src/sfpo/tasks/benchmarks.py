"""The problems of benchmarks: from the hub, from local copies, or from files of one's own."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from os.path import isdir, isfile
from pathlib import Path

from sfpo.errors import UsageError
from sfpo.tasks.catalog import KNOWN, label_of
from sfpo.tasks.cleaning import BenchmarkTexts
from sfpo.tasks.problem_text import normalised
from sfpo.tasks.readers import READERS, read_file
from sfpo.tasks.schemas import Row, read_rows
from sfpo.tasks.sources import NotReachableError, read_hub


@dataclass(frozen=True)
class Problem:
    id: str
    problem: str
    answer: str


@dataclass(frozen=True)
class Benchmark:
    """`usual_size` is the number of problems that published results refer to."""

    name: str
    problems: list[Problem]
    usual_size: int | None = None


def load_benchmark(name: str, data_path: str | None = None, option: str = "data_path") -> Benchmark:
    """A benchmark from the hub, from the folder `data_path`, or from a local file whose path is `name`.

    Args:
        option: the user's name for `data_path`.

    Raises:
        UsageError: the benchmark cannot be loaded, its columns match no known set, or a problem or an answer is missing.
    """
    if name not in KNOWN:
        return Benchmark(label_of(name), _problems(name, read_rows(read_file(name, "benchmarks"))))
    known = KNOWN[name]
    if data_path is None:
        local = f"give a folder that holds {known.file}.jsonl with --{option}"
        table = read_hub(known.hub, local)
    else:
        path = local_copy(name, data_path)
        if path is None:
            raise UsageError(f"{data_path} holds no {known.file}.jsonl: give a folder that does with --{option}")
        table = read_file(path, option)
    return Benchmark(name, _problems(name, read_rows(table)), known.size)


def local_copy(name: str, folder: str) -> Path | None:
    """The file of a known benchmark in a folder, in any of the formats that can be read."""
    paths = [Path(folder) / f"{KNOWN[name].file}{suffix}" for suffix in READERS]
    return next((path for path in paths if isfile(path)), None)


def benchmark_texts(folder: str | None) -> BenchmarkTexts:
    """The texts of all known benchmarks, which training must not contain.

    Raises:
        UsageError: `folder` is not a folder, or a file in it cannot be read.
    """
    if folder is not None and not isdir(folder):
        raise UsageError(f"there is no folder {folder}: give the one with the benchmarks to --benchmark_data_path")
    texts: dict[str, str] = {}
    missing: list[str] = []
    for name in KNOWN:
        if folder is not None and local_copy(name, folder) is None:
            missing.append(name)
            continue
        try:
            benchmark = load_benchmark(name, folder, "benchmark_data_path")
        except NotReachableError:
            # Waiting for a hub that does not answer takes long, so one failed attempt counts for all benchmarks.
            if not texts:
                return BenchmarkTexts(missing=tuple(KNOWN))
            missing.append(name)
            continue
        for problem in benchmark.problems:
            texts.setdefault(normalised(problem.problem), name)
    return BenchmarkTexts(texts, tuple(missing))


def _problems(name: str, rows: Iterable[Row]) -> list[Problem]:
    label = label_of(name)
    problems = []
    for number, row in enumerate(rows, start=1):
        for kind, value in (("problem", row.problem), ("answer", row.answer)):
            if not value:
                raise UsageError(f"row {number} of {name} has no {kind}: fill it in or remove the row")
        text = "\n".join([*(turn["content"] for turn in row.context), row.problem])
        problems.append(Problem(row.id or f"{label}-{number}", text, row.answer))
    if len({problem.id for problem in problems}) < len(problems):
        # A contest may number the problems of each paper from 1; the row number is always unique.
        problems = [replace(problem, id=f"{label}-{number}") for number, problem in enumerate(problems, start=1)]
    return problems
