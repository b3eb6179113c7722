"""Writes the files of a report whole or not at all, and never through a symbolic link."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sfpo.errors import UsageError


class Output:
    """A folder to write into."""

    def __init__(self, folder: Path, place: int) -> None:
        self._folder = folder
        self._place = place

    def write(self, file: str, content: bytes) -> Path:
        """Write a file under another name and rename it, so that a reader finds the old file or the new one.

        Raises:
            UsageError: what has that name is no regular file, or it cannot be written.
        """
        path = self._folder / file
        # Two reports about one folder at the same time each write a file of their own.
        new = f".{file[:200]}.{os.getpid()}"
        with _explained(path):
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(file, dir_fd=self._place).st_mode):
                    raise UsageError(
                        f"cannot write {path}: it is no regular file, so choose another name or remove it"
                    )
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=self._place)
            opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=self._place)
            try:
                with open(opened, "wb") as target:
                    target.write(content)
                    target.flush()
                    os.fsync(opened)
                os.rename(new, file, src_dir_fd=self._place, dst_dir_fd=self._place)
            except OSError:
                with suppress(OSError):
                    os.unlink(new, dir_fd=self._place)
                raise
        return path


@contextmanager
def opened_folder(folder: Path) -> Iterator[Output]:
    """The folder that a user named, which may be a symbolic link.

    Raises:
        UsageError: there is no such folder.
    """
    with _explained(folder):
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Output(folder, place)
    finally:
        os.close(place)


@contextmanager
def made_folder(folder: Path, inner: str) -> Iterator[Output]:
    """The folder `inner` in `folder`, made if there is none.

    Raises:
        UsageError: it is a symbolic link or no folder, or it cannot be made.
    """
    path = folder / inner
    with _explained(path):
        outer = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(FileExistsError):
                os.mkdir(inner, dir_fd=outer)
            if not stat.S_ISDIR(os.lstat(inner, dir_fd=outer).st_mode):
                raise UsageError(f"cannot write into {path}: it is no folder, so remove it")
            place = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
        finally:
            os.close(outer)
    try:
        yield Output(path, place)
    finally:
        os.close(place)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
