"""The reward of the maths recipes in verl: 1 for a response whose final answer equals the gold, 0 for any other."""

from typing import Any

from sfpo.grading import grade


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **others: Any
) -> float:
    return float(grade(ground_truth, solution_str).correct)
