"""One process writes to a folder at a time: the rows of two would interleave, and no file would say so."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sfpo.disk import make_folder
from sfpo.errors import UsageError

LOCK = ".sfpo.lock"


class FolderLock:
    """Holds a folder for one command, and makes it if there is none; a context manager.

    The lock ends with its process, however that ends. Leaving also removes the folders that were made and are still empty.

    Args:
        holder: the command, to tell others who is here.

    Raises:
        UsageError: the folder cannot be made or written to, or another process holds it.
    """

    def __init__(self, folder: Path, holder: str) -> None:
        self.folder = folder
        self._path = folder / LOCK
        self._holder = holder
        self._lock = FileLock(self._path, timeout=0)
        self._made: list[Path] = []
        self._file: tuple[int, int] | None = None

    def __enter__(self) -> "FolderLock":
        self._made = [folder for folder in (self.folder, *self.folder.parents) if not os.path.exists(folder)]
        make_folder(self.folder)
        try:
            self._lock.acquire()
            self._file = self._file_there()
            started = time.strftime("%Y-%m-%d %H:%M")
            self._path.write_text(f"{self._holder}, process {os.getpid()} on {socket.gethostname()} since {started}\n")
        except Timeout as error:
            raise UsageError(
                f"another process writes to {self.folder} ({self._who()}): wait until it ends, or choose another "
                "--output_dir"
            ) from error
        except OSError as error:
            self._leave()
            reason = error.strerror or error
            raise UsageError(f"cannot write to {self.folder} ({reason}): choose another --output_dir") from error
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def check(self) -> None:
        """Raises UsageError where the folder was deleted or moved, even if another one took its place."""
        if self._file_there() != self._file:
            raise UsageError(
                f"{self.folder} was deleted or moved while it was written to: move it back, or start again"
            )

    def _file_there(self) -> tuple[int, int] | None:
        try:
            file = self._path.stat()
        except OSError:
            return None
        return file.st_dev, file.st_ino

    def _who(self) -> str:
        try:
            lines = self._path.read_text(errors="replace")[:200].splitlines()
        except OSError:
            lines = []
        return lines[0] if lines else "it did not say its name"

    def _leave(self) -> None:
        # Whoever opened the file before it goes finds, once it has the lock, that it has no name, and tries again.
        with suppress(OSError):
            if self._file is not None and self._file_there() == self._file:
                self._path.unlink()
        self._lock.release()
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()


def refuse_unwritable(folder: Path, holder: str) -> None:
    """Refuse a folder that cannot be made, written to or held; what is made to find out is removed again.

    Raises:
        UsageError: see `FolderLock`.
    """
    with FolderLock(folder, holder):
        pass
