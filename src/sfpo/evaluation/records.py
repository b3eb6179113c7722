"""The files of one evaluation: `completions.jsonl`, which grows as completions come, and `results.json`.

`settings.json` says what they were made with. A folder is continued by the same settings and refused to others; nothing
in it is overwritten but the results, which follow from the completions. The code, versions and machines that made completions
are in both JSON files.
"""

import json
import os
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.evaluation.run import Answered, Result
from sfpo.records.provenance import PROVENANCE, Entry, entries_of, extended, provenance

COMPLETIONS, RESULTS, SETTINGS = "completions.jsonl", "results.json", "settings.json"


class EvaluationRecords:
    """Open a folder for the evaluation that `settings` describe; `rows` are the completions it already has.

    Raises:
        UsageError: the folder holds something else.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self._is_noted = False
        self._settings = json.loads(json.dumps(settings))
        self._provenance = self._check()
        folder.mkdir(parents=True, exist_ok=True)
        self._write_settings()
        self.rows = self._read()

    def add(self, rows: list[Answered]) -> None:
        """Append a batch, on the disk when this returns."""
        if not self._is_noted:
            self._is_noted = True
            self._provenance = extended(self._provenance, provenance())
            self._write_settings()
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with (self.folder / COMPLETIONS).open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self.rows += rows

    def of(self, benchmark: str) -> list[Answered]:
        return [row for row in self.rows if row["benchmark"] == benchmark]

    def write_results(self, results: list[Result], **facts: Any) -> None:
        _replace(
            self.folder / RESULTS,
            {
                "settings": self._settings,
                **facts,
                PROVENANCE: self._provenance,
                "benchmarks": [result.as_row() for result in results],
            },
        )

    def _write_settings(self) -> None:
        _replace(self.folder / SETTINGS, self._settings | {PROVENANCE: self._provenance})

    def _check(self) -> list[Entry]:
        """What made the completions that are there."""
        path = self.folder / SETTINGS
        if not path.exists():
            if taken := [name for name in (COMPLETIONS, RESULTS) if (self.folder / name).exists()]:
                raise UsageError(f"{self.folder} holds {taken[0]} of another run: choose another --output_dir")
            return []
        if not (self.folder / COMPLETIONS).exists():
            return []  # stopped before the first answer: nothing depends on its settings
        before = json.loads(path.read_text())
        made_by = entries_of(before)
        before.pop(PROVENANCE, None)
        different = [name for name in self._settings | before if self._settings.get(name) != before.get(name)]
        if different:
            changes = "; ".join(f"{name}: {_short(before.get(name))}" for name in different)
            raise UsageError(
                f"{self.folder} holds an evaluation with other settings ({changes}): repeat those to continue it, or "
                "choose another --output_dir"
            )
        return made_by

    def _read(self) -> list[Answered]:
        path = self.folder / COMPLETIONS
        if not path.exists():
            return []
        content = path.read_bytes()
        # A run that was killed while it wrote leaves a line without an end: that completion will be made again.
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        return [json.loads(line) for line in whole.decode().split("\n") if line]


def _replace(path: Path, value: dict[str, Any]) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    new.replace(path)


def _short(value: Any) -> str:
    """A setting as the user gave it; benchmarks by their sizes."""
    if isinstance(value, dict):
        return ", ".join(f"{name} with {benchmark['problems']} problems" for name, benchmark in value.items())
    return str(value)
