"""A real disk that is soon full: a file system of its own in memory, for those who may mount one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


class SmallDisk:
    """A folder with a file system of its own."""

    def __init__(self, path: Path, kilobytes: int) -> None:
        self.path = path
        self._mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")

    def resize(self, kilobytes: int) -> None:
        self._mount("-o", f"remount,size={kilobytes}k")

    def make_read_only(self) -> None:
        self._mount("-o", "remount,ro")

    def fill(self) -> None:
        with (self.path / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.path)], check=True, capture_output=True)


def mounted(path: Path, kilobytes: int) -> SmallDisk:
    """Mount one on a new folder, or skip the test."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small file system")
    path.mkdir()
    try:
        return SmallDisk(path, kilobytes)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
