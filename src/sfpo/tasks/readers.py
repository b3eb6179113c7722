"""Rows of a local JSONL, JSON, CSV or parquet file, with every number as the text that the file has.

A gold must reach the grader as it was written. The usual readers guess types: they round long integers, add digits to
integers that share a column with fractions, and turn a date into a point in time. So this module keeps JSON numbers as their
text and CSV cells as strings; a parquet file has its own types, and its values are exact.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from sfpo.errors import UsageError
from sfpo.tasks.catalog import SUFFIXES

_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what Python reads other bytes as, when it is told to go on
_BLANK = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Table:
    """A table; `name` is the user's name for the data. A missing value is None, or absent from its row."""

    name: str
    columns: list[str]
    rows: Iterable[dict[str, Any]]


def read_file(path: str | Path, option: str = "data_path") -> Table:
    """The rows of the one file that `option` names, whatever characters are in its name.

    Raises:
        UsageError: the file is missing, empty, broken or of another kind; the message names the row, if one is to blame.
            Damage to a parquet file may show only when its rows are read.
    """
    file = Path(path)
    if not isfile(file):  # also where the name is too long to be one
        raise UsageError(f"there is no file {path}: give one with --{option}")
    if file.suffix not in READERS:
        raise UsageError(f"{path} is not a {', '.join(READERS)} file: convert it, or choose another --{option}")
    try:
        if file.stat().st_size == 0:
            raise UsageError(f"{path} is empty: it needs one problem a row")
        return READERS[file.suffix](file)
    except (OSError, MemoryError) as error:
        raise UsageError(f"{path} cannot be read: {_first_line(error)}") from error


def _read_json(file: Path) -> Table:
    text, not_utf8 = _decoded(file)
    values: list[Any] = []
    try:
        for value, end in _json_values(text):
            values.append(value)
            if not_utf8 < end:
                raise _other_encoding(file, len(values))
    except json.JSONDecodeError as error:
        if not_utf8 <= error.pos:
            raise _other_encoding(file, len(values) + 1) from error
        raise _broken(file, f"row {len(values) + 1}: {error}") from error
    except RecursionError as error:
        raise _broken(file, f"row {len(values) + 1}: it is nested too deep") from error
    if len(values) == 1 and _is_columns(values[0]):
        values = [dict(zip(values[0], row, strict=True)) for row in zip(*values[0].values(), strict=True)]
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise _broken(file, f"row {number} is not an object of columns")
    return _table(file, list(dict.fromkeys(column for value in values for column in value)), values)


def _json_values(text: str) -> Iterator[tuple[Any, int]]:
    """The values of JSON lines or of one array, with the position of each one's end. A value may span several lines."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_constant)
    position = _skip_blank(text, 0)
    is_array = text.startswith("[", position)
    if is_array:
        position = _skip_blank(text, position + 1)
        if text.startswith("]", position):
            return
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        yield value, position
        position = _skip_blank(text, position)
        if is_array:
            if not text.startswith((",", "]"), position):
                raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
            is_array = text[position] == ","
            position = _skip_blank(text, position + 1)
            if not is_array and position < len(text):
                raise json.JSONDecodeError("Text after the array", text, position)
            if is_array and position == len(text):
                raise json.JSONDecodeError("Expecting another row", text, position)


def _read_csv(file: Path) -> Table:
    text, not_utf8 = _decoded(file)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    rows: list[dict[str, Any]] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not_utf8 < len(text) and any(map(_NOT_UTF8.search, cells)):
                raise _other_encoding(file, len(rows) + (1 if columns else 0))
            if not columns:
                columns = cells
                _check_unique(file, columns)
                continue
            while len(cells) > len(columns) and not cells[-1]:
                cells.pop()
            if len(cells) > len(columns):
                raise _broken(
                    file,
                    f"row {len(rows) + 1} has {len(cells)} cells for {len(columns)} columns (put a cell with a comma "
                    "between double quotes)",
                )
            rows.append({column: cell or None for column, cell in zip(columns, cells, strict=False)})
    except csv.Error as error:
        raise _broken(file, f"row {len(rows) + 1} ends at line {reader.line_num}: {error}") from error
    return _table(file, columns, rows)


def _read_parquet(file: Path) -> Table:
    try:
        parquet = pq.ParquetFile(file)
        columns = parquet.schema_arrow.names
        count = parquet.metadata.num_rows
    except Exception as error:  # whatever pyarrow makes of bytes that are no parquet
        raise _broken(file, _first_line(error)) from error
    _check_unique(file, columns)
    if not count:
        raise UsageError(f"{file} has no rows: it needs one problem a row")

    def rows() -> Iterator[dict[str, Any]]:
        read = 0
        try:
            for batch in parquet.iter_batches(batch_size=1000):
                narrow = [field for field in batch.schema if _holds_narrow_floats(field.type)]
                for row in _as_dicts(batch, file, read):
                    read += 1
                    yield row | {field.name: _shortest(row[field.name], field.type) for field in narrow}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _broken(file, f"after row {read}: {_first_line(error)}") from error

    return Table(str(file), columns, rows())


def _as_dicts(batch: pa.RecordBatch, file: Path, read: int) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="lossy")
    except UnicodeDecodeError:
        for number in range(batch.num_rows):
            try:
                batch.slice(number, 1).to_pylist()
            except UnicodeDecodeError as error:
                raise _other_encoding(file, read + number + 1) from error
        raise
    return rows


READERS: dict[str, Callable[[Path], Table]] = dict(
    zip(SUFFIXES, (_read_json, _read_json, _read_csv, _read_parquet), strict=True)
)


def _table(file: Path, columns: list[str], rows: list[dict[str, Any]]) -> Table:
    if not rows:
        raise UsageError(f"{file} has no rows: it needs one problem a row")
    return Table(str(file), columns, rows)


def _decoded(file: Path) -> tuple[str, int]:
    """The text, and the position in it of the first byte that is not UTF-8; past the end of the text if there is none."""
    text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    found = _NOT_UTF8.search(text)
    return text, found.start() if found else len(text) + 1


def _constant(name: str) -> str | None:
    """JSON's extensions. Some libraries write a missing value as NaN, because they have no other way."""
    return None if name == "NaN" else name


def _skip_blank(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


def _is_columns(value: Any) -> bool:
    """Whether an object has a list for each column, as pandas writes one."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(column, list) for column in value.values())
        and len({len(column) for column in value.values()}) == 1
    )


def _check_unique(file: Path, columns: list[str]) -> None:
    for column in columns:
        if column and columns.count(column) > 1:
            raise _broken(file, f"it has two columns '{column}'")


def _holds_narrow_floats(kind: pa.DataType) -> bool:
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return True
    return any(_holds_narrow_floats(kind.field(index).type) for index in range(kind.num_fields))


def _shortest(value: Any, kind: pa.DataType) -> Any:
    """A low-precision number in its shortest digits: 0.1, where a Python float has 0.10000000149011612."""
    if value is None:
        return None
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return float(str(np.float16(value) if pa.types.is_float16(kind) else np.float32(value)))
    if isinstance(value, list):
        return [_shortest(item, kind.field(0).type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _shortest(value[field.name], field.type) for field in kind}
    if pa.types.is_map(kind):
        return {key: _shortest(item, kind.item_type) for key, item in value.items()}
    return value


def _broken(file: Path, reason: str) -> UsageError:
    return UsageError(f"{file} cannot be read as {file.suffix[1:]}: {reason}")


def _other_encoding(file: Path, row: int) -> UsageError:
    which = f"row {row}" if row else "the first row"  # which names the columns
    return UsageError(f"{which} of {file} is not UTF-8 text: save the file in UTF-8")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
