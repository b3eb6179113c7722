"""The code blocks of the documentation's pages.

A block runs as it is printed. A comment on the line before it, `<!-- not run: REASON -->`, says why one does not; its options
are looked up instead.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """`why_not_run` is empty for a block that runs."""

    language: str
    text: str
    why_not_run: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page: Path) -> list[Block]:
    return [Block(found["language"], found["text"], found["why"] or "") for found in _BLOCK.finditer(page.read_text())]
