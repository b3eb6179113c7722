"""Records of comparisons, written by hand."""

import csv
import json


def write_comparison(folder, curves):
    """A comparison whose variants have these accuracies at every 100 rollouts, for two seeds alike."""
    variants = [
        {"name": name, "method": name.partition(",")[0], "settings": {}, "baseline": "grpo"} for name in curves
    ]
    (folder / "comparison.json").write_text(
        json.dumps(
            {
                "command": [],
                "model": "embedded",
                "task": "arithmetic",
                "seeds": [0, 1],
                "variants": variants,
                "failed": {},
            }
        )
    )
    with (folder / "evaluations.csv").open("w", newline="") as file:
        columns = ["variant", "seed", "step", "rollouts", "seconds", "accuracy", "mean_length", "cut_off", "problems"]
        writer = csv.writer(file)
        writer.writerow(columns)
        for variant, accuracies in curves.items():
            for seed in (0, 1):
                for index, accuracy in enumerate(accuracies):
                    writer.writerow([variant, seed, index, 100 * index, index, accuracy, 5, 0, 512])
