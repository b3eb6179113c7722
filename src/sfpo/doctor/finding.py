"""What a check of `sfpo doctor` found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["works", "absent", "doubtful", "broken"]


@dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Args:
        status: `absent` is optional and not there; `doubtful` may do its work or not; `broken` does not, and is required.
        what: what was looked at, and what was found.
        mend: the command, or the words, that mend it; empty where there is nothing to mend.
    """

    status: Status
    what: str
    mend: str = ""
