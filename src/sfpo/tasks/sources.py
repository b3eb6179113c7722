"""Rows of a data set, from a local file or from the hub."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from sfpo.errors import UsageError

LOADERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class HubSet:
    """Where the hub keeps a data set."""

    repository: str
    split: str
    configuration: str | None = None


class NotReachableError(UsageError):
    """The hub does not deliver the data set: there is no connection, or the hub does not have it."""


def read_file(path: str | Path, option: str = "data_path") -> Dataset:
    """The rows of a JSONL, JSON, CSV or parquet file that `option` names.

    Raises:
        UsageError: the file is missing, empty, broken or of another kind.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"there is no file {path}: give one with --{option}")
    if file.suffix not in LOADERS:
        raise UsageError(f"{path} is not a {', '.join(LOADERS)} file: convert it, or choose another --{option}")
    if file.stat().st_size == 0:
        raise UsageError(f"{path} is empty: it needs one problem per row")
    try:
        with _silent("datasets"):
            data: Any = load_dataset(LOADERS[file.suffix], data_files=str(file), split="train")
    except Exception as error:
        if "corresponds to no data" in str(error):  # a CSV file of column names alone
            raise UsageError(f"{path} has no rows: it needs one problem per row") from error
        # `datasets` wraps whatever its reader raised; a user can act on the cause.
        cause = error.__cause__ or error
        raise UsageError(f"{path} cannot be read as {file.suffix[1:]}: {str(cause).splitlines()[0]}") from error
    if not len(data):
        raise UsageError(f"{path} has no rows: it needs one problem per row")
    return data


def read_hub(source: HubSet, otherwise: str) -> Dataset:
    """A data set from the hub; `otherwise` tells the user what to give when it cannot be loaded.

    Raises:
        NotReachableError: see the class.
    """
    try:
        with _silent("huggingface_hub"):
            return load_dataset(source.repository, source.configuration, split=source.split)
    except (OSError, ValueError) as error:
        # `datasets` raises these without a connection, for a missing set, and for a missing split.
        reason = str(error).strip().splitlines()[0]
        raise NotReachableError(f"cannot load {source.repository} from the hub ({reason}): {otherwise}") from error


@contextmanager
def _silent(library: str) -> Iterator[None]:
    """Silence the library's own lines about a failure, which would precede the line that says what to do."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
