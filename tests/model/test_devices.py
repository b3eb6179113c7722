"""Which accelerators a process sees, with a machine of four GPUs in place of torch's own look."""

import os
import subprocess
import sys

import pytest
import torch

from sfpo.model.devices import keep_one_device, one_device

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)

    def machine(count, kind="cuda"):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))

    machine(4)
    return machine


def seen_by_a_child():
    code = f"import os; print(os.environ.get('{VISIBLE}'))"
    return subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_each_slot_s_process_sees_a_device_of_its_own(gpus):
    seen = []
    for slot in range(6):
        with one_device(slot):
            seen.append(seen_by_a_child())
    assert seen == ["0", "1", "2", "3", "0", "1"]
    assert VISIBLE not in os.environ


def test_devices_that_the_user_chose_are_shared_out(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv(VISIBLE, "5,GPU-8932f937")
    for slot, device in ((0, "5"), (1, "GPU-8932f937"), (2, "5")):
        with one_device(slot):
            assert seen_by_a_child() == device
    assert os.environ[VISIBLE] == "5,GPU-8932f937"


def test_the_environment_is_put_back_after_an_error(gpus):
    with pytest.raises(OSError, match="no process"), one_device(1):
        raise OSError("no process")
    assert VISIBLE not in os.environ


def test_a_plain_process_keeps_the_first(gpus, monkeypatch):
    monkeypatch.setenv(VISIBLE, "2,3,6,7")
    assert keep_one_device() == 3
    assert os.environ[VISIBLE] == "2"


def test_a_process_of_a_launcher_keeps_what_it_was_given(gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert keep_one_device() == 0
    assert VISIBLE not in os.environ


@pytest.mark.parametrize(("count", "kind"), [(0, "cuda"), (4, "mps")])
def test_without_accelerators_that_can_be_hidden_nothing_changes(gpus, count, kind):
    gpus(count, kind)
    before = dict(os.environ)
    with one_device(1):
        assert dict(os.environ) == before
    assert keep_one_device() == 0
    assert dict(os.environ) == before
