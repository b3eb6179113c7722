"""Files that are whole or not there, whatever ends the process that writes them.

A rename within one folder replaces a file in one step. What is renamed is on the disk before, so that a machine that loses
its power does not leave a name without its content.
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

Fingerprint = tuple[int, int]
"""A file's size in bytes and the CRC-32 of its content."""
_fingerprints: dict[tuple[int, int, int, int], Fingerprint] = {}


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file, or make it; text is written in UTF-8. A symbolic link is replaced, not followed.

    Raises:
        OSError: the disk is full, or the folder cannot be written to. The file is then as it was.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # left by a process that was killed
    try:
        with new.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException as error:
        new.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = str(path)  # the name that the user knows
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk know which names a folder holds."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Have the disk know all files of a folder and of those within it, whichever process wrote them."""
    for place, _, names in os.walk(folder):
        for name in names:
            with Path(place, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def fingerprint(path: Path) -> Fingerprint:
    """What tells a file from the same file after a disk or a copy has damaged it.

    A file is read once as long as neither its size nor its time of modification changes.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    # Not by its path: a checkpoint is renamed when it is complete.
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if identity not in _fingerprints:
        checksum = 0
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
        _fingerprints[identity] = status.st_size, checksum
    return _fingerprints[identity]


def damage(folder: Path, files: Mapping[str, Fingerprint], *, by_size_alone: bool = False) -> str | None:
    """What `folder` lacks of files with known fingerprints, in words that fit after "lacks"; None if nothing."""
    for name, (size, checksum) in files.items():
        path = folder / name
        if not path.is_file():
            return name
        if (found := path.stat().st_size) != size:
            return f"a part of {name} (it has {found:,} of {size:,} bytes)"
        if not by_size_alone and fingerprint(path)[1] != checksum:
            return f"the content that {name} was saved with"
    return None
