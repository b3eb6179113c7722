"""The files of one evaluation: `completions.jsonl`, which grows as completions come, and `results.json`.

`settings.json` says what they were made with. A folder is continued by the same settings and refused to others; nothing
in it is overwritten but the results, which follow from the completions. The code, versions and machines that made completions
are in both JSON files.
"""

import json
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from sfpo import disk
from sfpo.errors import UsageError
from sfpo.evaluation.run import ANSWERED, Answered, Result
from sfpo.json_object import flaw, read_object
from sfpo.records.provenance import PROVENANCE, Entry, entries_of, extended, provenance
from sfpo.records.rows import append_rows, mend_rows
from sfpo.whole import write_whole

COMPLETIONS, RESULTS, SETTINGS = "completions.jsonl", "results.json", "settings.json"


class EvaluationRecords:
    """Open a folder for the evaluation that `settings` describe.

    `rows` are the completions it already has. `damaged` is how many lines were no whole row, as a run that is killed leaves
    one: they are dropped, and made again. `foreign` is how many rows answer nothing that was asked: they stay in the file,
    and do not count.

    Args:
        asked: benchmark, problem id and sample of every answer that belongs to the evaluation.

    Raises:
        UsageError: the folder holds something else, or its settings are damaged.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], asked: AbstractSet[tuple[str, str, int]]) -> None:
        self.folder = folder
        self._is_noted = False
        disk.refuse_all_but_files(folder, (COMPLETIONS, RESULTS, SETTINGS))
        self._settings = json.loads(json.dumps(settings))
        self._provenance = self._check()
        folder.mkdir(parents=True, exist_ok=True)
        self._write_settings()
        self.rows, self.damaged, self.foreign = self._read(asked)

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
        # What each setting may be is not asked: those that differ from the settings now are refused.
        before = read_object(
            path,
            dict.fromkeys(self._settings, object),
            "choose another --output_dir, since nothing else says what made the completions beside it",
        )
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

    def _read(self, asked: AbstractSet[tuple[str, str, int]]) -> tuple[list[Answered], int, int]:
        rows, damaged = mend_rows(self.folder / COMPLETIONS, ANSWERED)
        once: dict[tuple[str, str, int], Answered] = {}
        foreign = 0
        for row in rows:
            answered = row["benchmark"], row["id"], row["sample"]
            foreign += answered not in asked
            if answered in asked:
                once.setdefault(answered, row)  # an answer counts once, whatever wrote it twice
        return list(once.values()), damaged, foreign


def _replace(path: Path, value: dict[str, Any]) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _short(value: Any) -> str:
    """A setting as the user gave it; benchmarks by their sizes."""
    if isinstance(value, dict) and flaw(value, {name: {"problems": int} for name in value}) is None:
        return ", ".join(f"{name} with {benchmark['problems']} problems" for name, benchmark in value.items())
    return str(value)
