"""What `sfpo doctor` says of the folder it is started in, of grading, and of the hub."""

from collections import namedtuple

import pytest

from sfpo.doctor import machine
from sfpo.doctor.machine import check_folder, check_grading, check_hub


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_folder_that_can_be_written_to_is_left_as_it_was(tmp_path):
    (found,) = check_folder()
    assert found.status == "works"
    assert found.what.startswith(f"{tmp_path / 'runs'} can be written to")
    assert list(tmp_path.iterdir()) == []


def test_runs_that_are_there_stay(tmp_path):
    (tmp_path / "runs" / "doctor").mkdir(parents=True)
    (found,) = check_folder()
    assert found.status == "works"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["doctor"]


def test_a_folder_that_cannot_be_made_is_broken(tmp_path):
    (tmp_path / "runs").write_text("")
    (found,) = check_folder()
    assert found.status == "broken"
    assert "cannot make the folder runs/doctor (Not a directory)" in found.what
    assert "--output_dir" in found.mend


def test_a_disk_that_is_nearly_full_is_doubtful(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage(100 * 2**30, 99.9 * 2**30, 0.1 * 2**30))
    (found,) = check_folder()
    assert found.status == "doubtful"
    assert "0.1 GiB are free, which a run with checkpoints soon fills" in found.what


def test_a_worker_grades():
    assert [found.status for found in check_grading()] == ["works"]


def test_workers_that_do_not_start_are_broken(monkeypatch):
    def fails(gold, response):
        raise RuntimeError("the workers do not start")

    monkeypatch.setattr(machine, "grade", fails)
    (found,) = check_grading()
    assert found.status == "broken"
    assert found.what == "grading: the workers do not start"


def test_a_hub_that_is_not_asked_or_does_not_answer_is_absent(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert [(one.status, one.mend) for one in check_hub()] == [("absent", "unset HF_HUB_OFFLINE")]
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.invalid")
    monkeypatch.setattr(machine.hub, "answers", lambda address: address != "https://mirror.invalid")
    (found,) = check_hub()
    assert (found.status, "https://mirror.invalid does not answer" in found.what) == ("absent", True)
    monkeypatch.delenv("HF_ENDPOINT")
    assert [one.status for one in check_hub()] == ["works"]
