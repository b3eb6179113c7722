"""What grading says about one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# "unparseable": no answer, or one that cannot be read. "timeout": the time limit ended the comparison.
# "error": the memory limit did, or the process crashed. All three count as not correct, and apart from "wrong".
Status = Literal["correct", "wrong", "unparseable", "timeout", "error"]


@dataclass(frozen=True)
class Verdict:
    """The outcome for one answer; `seconds` is the processor time spent on it."""

    status: Status
    seconds: float

    @property
    def correct(self) -> bool:
        return self.status == "correct"
