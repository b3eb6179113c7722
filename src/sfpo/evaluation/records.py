"""The files of one evaluation: `completions.jsonl`, which grows as completions come, and `results.json`.

`settings.json` says what they were made with. A folder is continued by the same settings and refused to others; nothing
in it is overwritten but the results, which follow from the completions. The code, versions and machines that made completions
are in both JSON files.
"""

import json
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.evaluation.run import Answered, Result
from sfpo.records.provenance import PROVENANCE, Entry, entries_of, extended, provenance
from sfpo.records.rows import append_rows, mend_rows
from sfpo.whole import write_whole

COMPLETIONS, RESULTS, SETTINGS = "completions.jsonl", "results.json", "settings.json"


class EvaluationRecords:
    """Open a folder for the evaluation that `settings` describe.

    `rows` are the completions it already has. `torn` is how many lines of them a run that was killed left torn: they are
    dropped, and made again.

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
        self.rows, self.torn = self._read()

    def add(self, rows: list[Answered]) -> None:
        """Append a batch, on the disk when this returns."""
        if not self._is_noted:
            self._is_noted = True
            self._provenance = extended(self._provenance, provenance())
            self._write_settings()
        append_rows(self.folder / COMPLETIONS, rows)
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
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise UsageError(
                f"{path} is not JSON ({error}), so nothing says what made the completions beside it: choose another --output_dir"
            ) from error
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

    def _read(self) -> tuple[list[Answered], int]:
        rows, torn = mend_rows(self.folder / COMPLETIONS)
        once: dict[Any, Answered] = {}
        for row in rows:  # an answer counts once, whatever wrote it twice
            once.setdefault((row["benchmark"], row["id"], row["sample"]), row)
        return list(once.values()), torn


def _replace(path: Path, value: dict[str, Any]) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _short(value: Any) -> str:
    """A setting as the user gave it; benchmarks by their sizes."""
    if isinstance(value, dict):
        return ", ".join(f"{name} with {benchmark['problems']} problems" for name, benchmark in value.items())
    return str(value)
