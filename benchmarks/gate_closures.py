"""When each setting of the entropy gate would first have closed, given the entropies of recorded runs without a gate.

Until it closes, a run with a gate equals the run without one. So a comparison's `steps.csv` shows the exact first closing
for any setting, without further training. For contrast, 100 runs of white noise show how long a gate stays open when
nothing happens. Writes results/gate-closures.json.

    python benchmarks/gate_closures.py results/embedded-conservative results/embedded-search results/embedded-gate
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from sfpo import EntropyGate
from sfpo.records.comparison import STEPS
from sfpo.records.provenance import PROVENANCE, provenance

WINDOWS = (10, 20, 30, 50)
THRESHOLDS = (1.0, 1.5, 2.0, 3.0)
SIDES = ("two", "upper")
NOISE = "white noise"
TARGET = Path(__file__).resolve().parents[1] / "results" / "gate-closures.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="comparisons whose SFPO runs had no gate")
    runs: dict[str, list[list[float]]] = {}
    for folder in parser.parse_args().folders:
        for (variant, _), entropies in read_entropies(folder).items():
            if variant.split(",")[0] == "sfpo" and "gate" not in variant:
                runs.setdefault(f"{folder.name}: {variant}", []).append(entropies)
    runs[NOISE] = noise()
    rows: list[dict[str, Any]] = []
    for name, of_seeds in runs.items():
        for window, threshold, sides in product(WINDOWS, THRESHOLDS, SIDES):
            closings = [first_closing(entropies, window, threshold, sides) for entropies in of_seeds]
            rows.append(
                {
                    "runs": name,
                    "steps": len(of_seeds[0]),
                    "window": window,
                    "threshold": threshold,
                    "sides": sides,
                    "first_closing": closings,
                }
            )
    table = Table(title="Step at which the gate first closes (median over seeds)")
    names = list(runs)
    for column in ("ω", "τ", "sides", *names):
        table.add_column(column)
    for window, threshold, sides in product(WINDOWS, THRESHOLDS, SIDES):
        cells = [
            shown(row["first_closing"])
            for row in rows
            if (row["window"], row["threshold"], row["sides"]) == (window, threshold, sides)
        ]
        table.add_row(str(window), f"{threshold:g}", sides, *cells)
    Console(width=200).print(table)
    content = {PROVENANCE: [provenance(Path(__file__).resolve().parent)], "closings": rows}
    TARGET.write_text(json.dumps(content, indent=1) + "\n")


def noise() -> list[list[float]]:
    """Entropies that vary randomly about a constant: 100 runs of 400 steps."""
    generator = random.Random(0)
    return [[generator.gauss(1.0, 0.1) for _ in range(400)] for _ in range(100)]


def read_entropies(folder: Path) -> dict[tuple[str, str], list[float]]:
    """H_s of every step (nats), by variant and seed."""
    entropies: dict[tuple[str, str], list[float]] = {}
    with (folder / STEPS).open(newline="") as file:
        for row in csv.DictReader(file):
            if row["entropy"]:  # with several mini-batches one step in so many has a batch's entropy
                entropies.setdefault((row["variant"], row["seed"]), []).append(float(row["entropy"]))
    return entropies


def first_closing(entropies: list[float], window: int, threshold: float, sides: Any) -> int | None:
    """The 1-based step, or None if the gate stays open."""
    gate = EntropyGate(window=window, threshold=threshold, sides=sides)
    return next((step for step, entropy in enumerate(entropies, 1) if gate.update(entropy) == 0.0), None)


def shown(closings: list[int | None]) -> str:
    """Their median; "never" if half or more never close."""
    middle = median(math.inf if step is None else step for step in closings)
    return f"{middle:g}" if math.isfinite(middle) else "never"


if __name__ == "__main__":
    main()
