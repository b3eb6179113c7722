"""One writer a folder: between real processes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sfpo.cli import main
from sfpo.errors import UsageError
from sfpo.records.lock import LOCK, FolderLock

HOLD = """
import sys
from pathlib import Path
from sfpo.records.lock import FolderLock
with FolderLock(Path(sys.argv[1]), "sfpo train"):
    print("held", flush=True)
    sys.stdin.read()
"""

TAKE_TURNS = """
import os, sys, time
from pathlib import Path
from sfpo.errors import UsageError
from sfpo.records.lock import FolderLock
folder, turns = Path(sys.argv[1]), 0
end = time.monotonic() + 60
while turns < 40 and time.monotonic() < end:
    try:
        with FolderLock(folder, "turn"):
            os.close(os.open(folder.parent / "alone", os.O_CREAT | os.O_EXCL))  # fails where another one is inside
            os.unlink(folder.parent / "alone")
            turns += 1
    except UsageError:
        time.sleep(0.001)
print(turns)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


COMMANDS = {
    "train": ["train"],
    "compare": ["compare", "--methods", "grpo", "--seeds", "1", "--max_steps", "1"],
    "eval": ["eval", "--benchmarks", "BENCHMARK", "--samples", "1"],
}


def refused(capsys, tmp_path, command, folder):
    """The one line with which a command refuses a folder."""
    (tmp_path / "sums.jsonl").write_text('{"problem": "1+1=", "answer": "2"}\n')
    arguments = [str(tmp_path / "sums.jsonl") if word == "BENCHMARK" else word for word in COMMANDS[command]]
    capsys.readouterr()
    assert main([*arguments, "--output_dir", str(folder)]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert errors.startswith(f"sfpo {command}: ")
    return errors


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_writer_is_told_who_the_first_is(holder, capsys, tmp_path, command):
    errors = refused(capsys, tmp_path, command, tmp_path / "run")
    assert f"(sfpo train, process {holder.pid} on " in errors
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_the_lock_ends_with_its_process(holder, tmp_path):
    with pytest.raises(UsageError, match=str(holder.pid)), FolderLock(tmp_path / "run", "sfpo train"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with FolderLock(tmp_path / "run", "sfpo train") as lock:
        lock.check()
    assert not (tmp_path / "run" / LOCK).exists()


def test_there_is_never_more_than_one(tmp_path):
    """The file of the lock goes when its holder leaves, while others are about to take it."""
    command = [sys.executable, "-c", TAKE_TURNS, str(tmp_path / "run")]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    turns = [int(taker.communicate()[0]) for taker in takers]
    assert [taker.returncode for taker in takers] == [0, 0, 0]
    assert turns == [40, 40, 40]


def test_only_folders_that_were_made_and_stayed_empty_go(tmp_path):
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "a" / "b" / "c"):
        with FolderLock(folder, "sfpo train"):
            assert (folder / LOCK).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    with FolderLock(tmp_path / "a" / "b", "sfpo train"):
        (tmp_path / "a" / "b" / "row").write_text("kept")
    assert (tmp_path / "a" / "b" / "row").read_text() == "kept"


def test_a_folder_that_was_deleted_or_replaced_is_noticed(tmp_path):
    folder = tmp_path / "run"
    for replace in (False, True):
        with FolderLock(folder, "sfpo train") as lock:
            shutil.rmtree(folder)
            if replace:
                with FolderLock(folder, "another"), pytest.raises(UsageError, match="was deleted or moved"):
                    lock.check()
            else:
                with pytest.raises(UsageError, match="was deleted or moved"):
                    lock.check()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_folder_that_cannot_be_is_one_line(capsys, tmp_path, command):
    (tmp_path / "file").write_text("kept")
    for folder, said in (
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "file" / "run", "Not a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
        (Path("/proc/run"), "cannot make the folder /proc/run"),
        (tmp_path / "a\0b", "cannot make the folder"),
        (tmp_path / ("d/" * 1900), "cannot make the folder"),
    ):
        errors = refused(capsys, tmp_path, command, folder)
        assert said in errors
        assert "choose another --output_dir" in errors
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sums.jsonl"]
