"""Rows of a data set of the hub."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasets import Dataset, load_dataset

from sfpo.errors import UsageError
from sfpo.tasks.catalog import HubSet
from sfpo.tasks.readers import Table


class NotReachableError(UsageError):
    """The hub does not deliver the data set: there is no connection, or the hub does not have it."""


def read_hub(source: HubSet, otherwise: str) -> Table:
    """A data set from the hub; `otherwise` tells the user what to give when it cannot be loaded.

    Raises:
        NotReachableError: see the class.
    """
    try:
        with _silent("huggingface_hub"):
            data: Dataset = load_dataset(source.repository, source.configuration, split=source.split)
    except (OSError, ValueError) as error:
        # `datasets` raises these without a connection, for a missing set, and for a missing split.
        reason = str(error).strip().splitlines()[0]
        raise NotReachableError(f"cannot load {source.repository} from the hub ({reason}): {otherwise}") from error
    return Table(source.repository, data.column_names, _rows(data))


def _rows(data: Dataset) -> Iterator[dict[str, Any]]:
    for batch in data.iter(batch_size=1000):
        columns = list(batch)
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


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
