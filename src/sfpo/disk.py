"""What a disk refuses, in one line: it is full or read-only, a name is too long, a folder is gone.

These are no faults of the program: the user makes room, or names another folder, and goes on.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sfpo.errors import UsageError

# These are about a disk wherever they come from, the others only where they name a file: a signal may lack permission, too.
_ALWAYS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG}
_WITH_A_FILE = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
# How libraries in Rust (safetensors, tokenizers) quote the system's error.
_OS_ERROR = re.compile(r"\(os error (\d+)\)|\bcode: (\d+)")
# How torch says that a file could not be written; it drops the system's reason.
_TORCH_WRITES = ("PytorchStreamWriter failed", "unexpected pos")


def refusal(error: BaseException) -> str | None:
    """What the disk refused, in one line, if that is what the error says; None for any other error."""
    if isinstance(error, OSError):
        number = error.errno
        if number in _ALWAYS or (number in _WITH_A_FILE and error.filename is not None):
            return _in_words(number, error.filename)
        return None
    text = str(error)
    if (quoted := _OS_ERROR.search(text)) and int(quoted[1] or quoted[2]) in _ALWAYS | _WITH_A_FILE:
        return _in_words(int(quoted[1] or quoted[2]), None)
    if isinstance(error, RuntimeError) and any(words in text for words in _TORCH_WRITES):
        return "a file could not be written (the disk is full, or fails)"
    return None


@contextmanager
def writing_to(folder: Path, remedy: Callable[[], str]) -> Iterator[None]:
    """Turn what the disk refuses while `folder` is written to into one line, which ends with the remedy.

    Raises:
        UsageError: the disk refused something, or the folder was deleted meanwhile.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if not os.path.isdir(folder):
            raise UsageError(
                f"{folder} was deleted or moved while it was written to: move it back, or start again"
            ) from error
        if (said := refusal(error)) is None:
            raise
        raise UsageError(f"{said}: {remedy()}") from error


def make_folder(folder: Path, option: str = "output_dir") -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        UsageError: it cannot be made; the message says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{folder} is not a folder: choose another --{option}") from error
    except (OSError, ValueError, RecursionError) as error:  # the last two: a null byte, and thousands of folders
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UsageError(
            f"cannot make the folder {_short(str(folder))} ({reason}): choose another --{option}"
        ) from error


def refuse_all_but_files(folder: Path, names: Iterable[str]) -> None:
    """Check the files that a command will read or replace. Reading a FIFO may wait for ever.

    Raises:
        UsageError: a folder, a FIFO or a device has one of the names.
    """
    for name in names:
        if os.path.exists(folder / name) and not os.path.isfile(folder / name):
            raise UsageError(f"{folder / name} is no regular file: move it away, or choose another --output_dir")


def _in_words(number: int, name: str | bytes | int | None) -> str:
    where = f" ({_short(os.fsdecode(name))})" if isinstance(name, str | bytes) else ""
    return f"{os.strerror(number)}{where}"


def _short(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:80]} … {name[-40:]}"
