"""Answers graded per second, compared with math-verify in one process.

There are three collections: the MATH-500 golds written as responses, difficult cases, and adversarial ones, which a policy
under reward could exploit. `sfpo` grades with its workers, which start before the clock does; math-verify grades with its
defaults in the main thread. Writes results/grading/benchmark.json.

    python benchmarks/grading.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from math_verify import parse, verify

from sfpo.grading import grade_all
from sfpo.records.provenance import PROVENANCE, provenance

Pair = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with bench/ and grader/")
    data = parser.parse_args().data
    logging.disable(logging.WARNING)
    golds = [row["answer"] for row in read_rows(data / "bench" / "math500.jsonl")]
    difficult, adversarial = (
        [
            (row["gold"], row["response"], row["correct"])
            for row in read_rows(data / "grader" / name)
            if not row["ambiguous"]
        ]
        for name in ("cases.jsonl", "cases_2.jsonl")
    )
    collections = {
        "MATH-500 golds": [(gold, f"The answer is $\\boxed{{{gold}}}$.", True) for gold in golds],
        "grader cases": difficult,
        "adversarial": adversarial,
    }
    graders: dict[str, Callable[[list[Pair]], list[bool]]] = {"sfpo": with_sfpo, "math-verify": with_math_verify}
    results = []
    print(
        f"{'collection':<16}{'grader':<14}{'answers':>8}{'seconds':>9}{'per second':>12}{'right':>9}{'accepted wrongly':>18}"
    )
    for collection, rows in collections.items():
        for name, grader in graders.items():
            pairs = [(gold, response) for gold, response, _ in rows]
            # The first answer includes the time to import modules and to start workers.
            grader([("x+1", r"\boxed{1+x}")])
            started = time.perf_counter()
            verdicts = grader(pairs)
            seconds = time.perf_counter() - started
            judged = [(verdict, truth) for verdict, (_, _, truth) in zip(verdicts, rows, strict=True)]
            right = sum(verdict == truth for verdict, truth in judged) / len(rows)
            accepted = sum(verdict and not truth for verdict, truth in judged)
            result = {
                "collection": collection,
                "grader": name,
                "answers": len(rows),
                "seconds": round(seconds, 3),
                "answers_per_second": round(len(rows) / seconds, 1),
                "right": round(right, 4),
                "accepted_wrongly": accepted,
            }
            results.append(result)
            speed = f"{len(rows):>8}{seconds:>9.2f}{len(rows) / seconds:>12.1f}"
            print(f"{collection:<16}{name:<14}{speed}{right:>9.2%}{accepted:>18}")
    target = Path(__file__).resolve().parents[1] / "results" / "grading" / "benchmark.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    content = {PROVENANCE: [provenance(Path(__file__).resolve().parent)], "results": results}
    target.write_text(json.dumps(content, indent=2) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise SystemExit(f"cannot read {path}: give the data folder with --data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def with_sfpo(pairs: list[Pair]) -> list[bool]:
    return [verdict.correct for verdict in grade_all(pairs)]


def with_math_verify(pairs: list[Pair]) -> list[bool]:
    """math-verify called as in its documentation, with the gold in a box, since its default reads a bare gold as prose."""
    return [bool(verify(parse(f"\\boxed{{{gold}}}"), parse(response))) for gold, response in pairs]


if __name__ == "__main__":
    main()
