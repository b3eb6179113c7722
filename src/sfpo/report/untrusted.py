"""Reads the files of a folder that somebody else may have written. `sfpo report` reads nothing from it in any other way.

- A path is walked from the folder, part by part: nothing is read through a symbolic link or `..`.
- Only regular files are opened, so that a FIFO or a device holds nobody up.
- Files, rows, numbers and nesting have limits, far above what sfpo writes, so that reading ends soon in bounded memory.
- What is not as it should be is left out, and one line of `left_out` says so. No content of a file can raise an error.
"""

import csv
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

_MEBIBYTE = 2**20
_LARGEST_FILE, _ALL_FILES = 64 * _MEBIBYTE, 256 * _MEBIBYTE
_LARGEST_OBJECT = 8 * _MEBIBYTE
"""Of a JSON object in a file of its own."""
_LARGEST_ROW, _MOST_ROWS, _ALL_ROWS = _MEBIBYTE, 200_000, 1_000_000
_LARGEST_CONFIGURATION, _ALL_CONFIGURATIONS = 32 * 2**10, _MEBIBYTE
_MOST_EVENTS, _DEEPEST = 5_000, 20
"""Of the YAML of a configuration."""
_MOST_LINES = 20
_LARGEST_NUMBER = 1e30
"""Larger ones overflow when an axis is laid out."""
_LONGEST_NAME = 200

_SURROGATES = re.compile("[\ud800-\udfff]")
# Control characters, line and paragraph separators, and marks that change the direction of what follows.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


class MalformedError(ValueError):
    """A value is not of the kind that sfpo writes in its place."""


def number(value: Any) -> int | float:
    """A finite number of a size that can be drawn.

    Raises:
        MalformedError: it is none.
    """
    if not is_number(value):
        raise MalformedError("a number is missing")
    found: int | float = value
    return found


def is_number(value: Any) -> bool:
    """Whether `number` takes a value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_NUMBER


def whole(value: Any) -> int:
    """A whole number of at least 0, such as a step.

    Raises:
        MalformedError: it is none.
    """
    found = number(value)
    if found < 0 or found != int(found):
        raise MalformedError("a whole number is missing")
    return int(found)


def text(value: Any) -> str:
    """A text that can be encoded; an unpaired surrogate becomes a replacement character."""
    return _SURROGATES.sub("\ufffd", "" if value is None else str(value))


def name(value: Any) -> str:
    """A text for one line of a page, of a terminal or of a figure."""
    line = _UNPRINTABLE.sub(" ", text(value)).strip()
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 1]}…"


def list_of(read: Callable[[Any], Any], value: Any, most: int) -> list[Any]:
    """The first `most` items of a list, each read by `read`.

    Raises:
        MalformedError: it is no list, or `read` refuses an item.
    """
    if not isinstance(value, list):
        raise MalformedError("a list is missing")
    return [read(item) for item in value[:most]]


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object.

    Raises:
        MalformedError: it is none.
    """
    if not isinstance(value, dict):
        raise MalformedError("an object is missing")
    return value


class Untrusted:
    """The files below `folder`, which paths with `/` name, and in `left_out` what was not read of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._budget = _ALL_FILES
        self._configurations = _ALL_CONFIGURATIONS
        self._rows = _ALL_ROWS
        self._not_told = 0
        self._left_out: list[str] = []

    @property
    def left_out(self) -> list[str]:
        """One line for each thing that was left out, up to a limit."""
        more = [f"{self._not_told:,} more things were left out."] if self._not_told else []
        return self._left_out + more

    def leave_out(self, path: str, why: str) -> None:
        """Say that something of a file was left out."""
        line = f"{name(path)} {why}."
        if line in self._left_out:
            return
        if len(self._left_out) < _MOST_LINES:
            self._left_out.append(line)
        else:
            self._not_told += 1

    def has(self, path: str) -> bool:
        """Whether there is a file to read."""
        opened = self._open(path)
        if opened is not None:
            os.close(opened)
        return opened is not None

    def object(self, path: str) -> dict[str, Any] | None:
        """A JSON object in a file of its own; None if there is none to read."""
        content = self._read(path, _LARGEST_OBJECT)
        if content is None:
            return None
        if len(content) > _LARGEST_OBJECT:
            self.leave_out(path, f"is larger than {_LARGEST_OBJECT // _MEBIBYTE} MiB and was not read")
            return None
        try:
            return mapping(_json(content))
        except MalformedError:
            self.leave_out(path, "is no JSON object and was not read: was it edited, or only partly written?")
            return None

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The JSON objects of a JSON lines file; a last row that a killed run left unfinished is none."""
        content = self._read(path, _LARGEST_FILE)
        if content is None:
            return
        is_cut = len(content) > _LARGEST_FILE
        count = broken = 0
        for line in io.BytesIO(content):
            if count == _MOST_ROWS or self._rows == 0 or (is_cut and not line.endswith(b"\n")):
                is_cut = True
                break
            count += 1
            self._rows -= 1
            try:
                if len(line) > _LARGEST_ROW:
                    raise MalformedError("the row is too long")
                yield mapping(_json(line))
            except MalformedError:
                broken += line.endswith(b"\n")
        if is_cut:
            self.leave_out(path, f"is too long: only its first {count:,} rows were read")
        self._count_broken(path, broken)

    def table(self, path: str) -> Iterator[dict[str, str]]:
        """The rows of a CSV file with a header, by its names."""
        content = self._read(path, _LARGEST_FILE)
        if content is None:
            return
        reader = csv.reader(io.StringIO(content[:_LARGEST_FILE].decode(errors="replace"), newline=""))
        broken = 0
        try:
            header = next(reader, [])
            for row in islice(reader, _MOST_ROWS):
                if len(row) == len(header):
                    yield dict(zip(header, row, strict=True))
                else:
                    broken += 1
            if len(content) > _LARGEST_FILE or next(reader, None) is not None:
                self.leave_out(path, f"is too long: only its first {reader.line_num:,} lines were read")
        except csv.Error:
            self.leave_out(path, f"is no CSV after line {reader.line_num:,}: the rest was not read")
        self._count_broken(path, broken)

    def configuration(self, path: str) -> tuple[str, dict[str, Any]]:
        """The text of a YAML configuration, and its settings; what is neither a number nor a word is a name."""
        content = self._read(path, _LARGEST_CONFIGURATION)
        if content is None:
            return "", {}
        self._configurations -= len(content)
        if len(content) > _LARGEST_CONFIGURATION or self._configurations < 0:
            self.leave_out(path, "is too long for a configuration and was not read")
            return "", {}
        written = content.decode(errors="replace")
        try:
            return written, _yaml(written)
        except MalformedError as error:
            self.leave_out(path, f"cannot be read as a configuration: {error}")
            return written, {}

    def _count_broken(self, path: str, count: int) -> None:
        if count:
            self.leave_out(path, f"has {count:,} row{'' if count == 1 else 's'} that cannot be read")

    def _read(self, path: str, most: int) -> bytes | None:
        """The first bytes of a file, one more than `most` if it is longer; None if there is no file to read."""
        opened = self._open(path)
        if opened is None:
            return None
        if self._budget <= 0:
            os.close(opened)
            self.leave_out(path, f"was not read: the folder holds more than {_ALL_FILES // _MEBIBYTE} MiB")
            return None
        try:
            with open(opened, "rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            self.leave_out(path, f"cannot be read ({error.strerror})")
            return None
        self._budget -= len(content)
        return content

    def _open(self, path: str) -> int | None:
        """A descriptor of a regular file; None if there is none, or none that may be read, of which it tells."""
        *folders, last = path.split("/")
        place: int | None = None
        try:
            if not {"", ".", ".."}.isdisjoint([*folders, last]):
                raise MalformedError("leads out of the folder and was not read")
            place = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            for part in folders:
                _refuse_all_but(stat.S_ISDIR, part, place)
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
                os.close(place)
                place = inner
            _refuse_all_but(stat.S_ISREG, last, place)
            # What was put in its place meanwhile is not waited for.
            opened = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                os.close(opened)
                raise MalformedError("is no regular file and was not read")
            return opened
        except FileNotFoundError:
            return None
        except MalformedError as error:
            self.leave_out(path, str(error))
        except OSError as error:
            self.leave_out(path, f"cannot be read ({error.strerror})")
        except ValueError:  # a name with a NUL or with half a character
            return None
        finally:
            if place is not None:
                os.close(place)
        return None


def _refuse_all_but(is_kind: Callable[[int], bool], part: str, place: int) -> None:
    mode = os.lstat(part, dir_fd=place).st_mode
    if stat.S_ISLNK(mode):
        raise MalformedError("is or lies behind a symbolic link and was not read")
    if not is_kind(mode):
        raise MalformedError("is no regular file and was not read")


def _json(content: bytes) -> Any:
    """What JSON text says, NaN and infinities as None.

    Raises:
        MalformedError: it is no JSON, or nested too deeply.
    """
    try:
        return _DECODER.decode(content.decode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise MalformedError("no JSON") from error


def _whole_or_float(digits: str) -> int | float:
    # Python refuses to read thousands of digits as a whole number, which no record holds.
    return int(digits) if len(digits) <= 18 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_whole_or_float, parse_constant=lambda _: None)


def _yaml(written: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for count, event in enumerate(yaml.parse(written, Loader=loader)):
            # An alias repeats what may hold aliases itself: a few lines can stand for a billion.
            if isinstance(event, yaml.AliasEvent):
                raise MalformedError("it has aliases, which sfpo does not write")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST or count > _MOST_EVENTS:
                raise MalformedError("it is nested too deeply or too long")
        read = yaml.load(written, Loader=loader)
        if isinstance(read, dict):
            return {name(key): _setting(value) for key, value in read.items()}
    except MalformedError:
        raise
    except Exception as error:
        # The constructors of YAML's types raise errors of many kinds for texts that are none of theirs.
        raise MalformedError("it is no YAML") from error
    if read is None:
        return {}
    raise MalformedError("it does not hold 'option: value' lines")


def _setting(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if abs(value) <= _LARGEST_NUMBER else None
    return name(value)
