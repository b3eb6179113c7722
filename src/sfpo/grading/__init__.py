"""Grading of mathematical answers: `grade`, `grade_all`, `validate_golds`, and rewards for TRL."""

from .completion import final_text, whole_text
from .extract import committed_answer
from .golds import InvalidGold, validate_golds
from .grade import grade, grade_all
from .pool import Pool
from .reward import format_reward, math_reward
from .verdict import Status, Verdict

__all__ = [
    "InvalidGold",
    "Pool",
    "Status",
    "Verdict",
    "committed_answer",
    "final_text",
    "format_reward",
    "grade",
    "grade_all",
    "math_reward",
    "validate_golds",
    "whole_text",
]
