"""Files are whole or not there."""

import os

import pytest
from kills import KILLED, WHOLE, forked, kill_at_line, kill_in_file

from sfpo.disk import refusal
from sfpo.whole import sync_tree, write_whole


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path, old, new = tmp_path / "run.json", "old" * 1000, "ä" * 5000
    seen = set()

    def write(prepare, *arguments):
        prepare(*arguments)
        write_whole(path, new)

    line, ended = 0, None
    while ended != WHOLE:
        line += 1
        path.write_text(old)
        ended = forked(lambda line=line: write(kill_at_line, line, ("sfpo/whole.py",)))
        seen.add(path.read_text())
        assert seen <= {old, new}
    assert line > 10
    assert seen == {old, new}
    path.write_text(old)
    assert forked(lambda: write(kill_in_file, 300)) == KILLED
    assert path.read_text() == old
    write_whole(path, new)
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_in_its_place_is_named_by_the_name_of_the_file(tmp_path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        write_whole(tmp_path / "run.json", "new")
    assert refusal(refused.value) == f"Is a directory ({tmp_path / 'run.json'})"
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_a_symbolic_link_is_replaced(tmp_path):
    (tmp_path / "elsewhere").write_text("theirs")
    (tmp_path / "report.html").symlink_to(tmp_path / "elsewhere")
    # Nor is one followed that bears the temporary name.
    (tmp_path / ".report.html.new").symlink_to(tmp_path / "elsewhere")
    write_whole(tmp_path / "report.html", b"ours")
    assert (tmp_path / "elsewhere").read_text() == "theirs"
    assert (tmp_path / "report.html").read_bytes() == b"ours"
    assert not (tmp_path / "report.html").is_symlink()


def test_a_tree_is_brought_to_the_disk(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    for name in ("a", "inner/b"):
        (tmp_path / name).write_text(name)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    sync_tree(tmp_path)
    assert set(synced) == {str(tmp_path), *(str(tmp_path / name) for name in ("a", "inner", "inner/b"))}
