"""Records name the code, the versions and the machine that made them."""

import getpass
import json
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from sfpo.records.provenance import commit, entries_of, extended, provenance


def git(folder, *arguments):
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *settings, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package, scripts beside it, and an ignored environment with another package."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for folder in ("package", "scripts", "environment"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "code.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("environment/\n__pycache__/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Begin")
    return tmp_path


def test_the_commit_is_that_of_the_checkout_and_says_whether_it_was_changed(checkout):
    package, scripts = checkout / "package", checkout / "scripts"
    head = git(checkout, "rev-parse", "HEAD")
    assert commit(package, scripts) == head
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "code.pyc").write_bytes(b"")
    (checkout / "notes.txt").write_text("not of the package")
    assert commit(package, scripts) == head
    (scripts / "code.py").write_text("x = 2\n")
    assert commit(package) == head
    assert commit(package, scripts) == f"{head}+dirty"
    (package / "new.py").write_text("")
    assert commit(package) == f"{head}+dirty"


def test_an_installed_package_has_no_commit(checkout, tmp_path_factory, monkeypatch):
    assert commit(checkout / "environment") is None  # though it lies in a checkout of something else
    assert commit(tmp_path_factory.mktemp("elsewhere")) is None
    monkeypatch.setenv("PATH", "")
    assert commit(checkout / "package") is None


def test_an_entry_says_what_made_a_record_and_nothing_of_whose_machine_it_was():
    entry = json.loads(json.dumps(provenance()))
    assert entry.keys() == {"time", "commit", "versions", "machine"}
    time = datetime.fromisoformat(entry["time"])
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert re.fullmatch(r"[0-9a-f]{40}(\+dirty)?", entry["commit"] or "0" * 40)
    assert entry["versions"]["torch"] == version("torch")
    assert entry["versions"]["python"].split(".")[:2] == list(map(str, sys.version_info[:2]))
    assert entry["machine"].keys() == {"processor", "cores", "memory_gib", "accelerator"}
    assert entry["machine"]["processor"]
    text = json.dumps(entry)
    named = [socket.gethostname(), getpass.getuser(), str(Path.home()), str(Path.cwd())]
    assert [name for name in named if re.search(rf"\b{re.escape(name)}\b", text)] == []
    assert "/" not in text.replace("(R)", "")


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr("sfpo.records.provenance._VERSIONED", ("torch", "no-such-package-of-this-name"))
    assert provenance()["versions"].keys() == {"python", "torch"}


def test_the_accelerator_is_named_by_torch_where_something_imported_it(monkeypatch):
    accelerator = SimpleNamespace(
        is_available=lambda: True, current_accelerator=lambda: SimpleNamespace(type="cuda"), device_count=lambda: 8
    )
    named = SimpleNamespace(get_device_name=lambda index: "NVIDIA H100 80GB HBM3")
    torch = SimpleNamespace(accelerator=accelerator, get_device_module=lambda kind: named)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert provenance()["machine"]["accelerator"] == "8 x NVIDIA H100 80GB HBM3"
    torch.get_device_module = lambda kind: SimpleNamespace()
    assert provenance()["machine"]["accelerator"] == "8 x cuda"
    accelerator.is_available = lambda: False
    assert provenance()["machine"]["accelerator"] is None
    monkeypatch.delitem(sys.modules, "torch")
    assert provenance()["machine"]["accelerator"] is None
    assert "torch" not in sys.modules


def test_what_goes_on_the_same_way_adds_nothing_and_what_differs_adds_one_entry():
    first = {"time": "1", "commit": "a", "machine": {"cores": 2}}
    other = {"time": "2", "commit": "b", "machine": {"cores": 2}}
    entries = extended([], first)
    assert entries == [first]
    assert extended(entries, {**first, "time": "3"}) == [first]
    entries = extended(entries, other)
    assert entries == [first, other]
    assert extended(entries, {**first, "time": "4"}) == [first, other]


def test_a_record_from_before_begins_with_an_empty_entry():
    assert entries_of({"seeds": [0]}) == [{}]
    assert entries_of({"provenance": []}) == []
    for damaged in (None, {}, "", [None], 3):
        assert entries_of({"provenance": damaged}) == [{}]
    assert extended(entries_of({}), {"commit": "a"}) == [{}, {"commit": "a"}]
