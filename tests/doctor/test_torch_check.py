"""What `sfpo doctor` says of torch: found by a child that really imports it, and of devices that are not here."""

import json
import sys

import pytest

from sfpo.doctor import torch_check
from sfpo.doctor.finding import Finding
from sfpo.doctor.torch_check import check_torch, probe

CPU = {
    "torch": "2.13.0+cpu", "built_for": None, "device": "cpu", "devices": 0, "free_memory": None, "wrong_products": [],
    "steps": True, "provenance": {"machine": {"accelerator": None}},
}  # fmt: skip
CUDA = CPU | {
    "torch": "2.13.0", "built_for": "13.0", "device": "cuda", "devices": 2, "free_memory": [30 * 2**30, 80 * 2**30],
    "provenance": {"machine": {"accelerator": "2 x Some GPU"}},
}  # fmt: skip


@pytest.fixture
def gpu_there(monkeypatch):
    monkeypatch.setattr(torch_check, "_has_nvidia_gpu", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_torch_of_this_machine_works():
    found = probe()
    assert not isinstance(found, Finding), found
    assert found["torch"] == __import__("torch").__version__
    assert found["steps"] is True
    assert found["wrong_products"] == []
    assert "torch" in found["provenance"]["versions"]
    first = next(check_torch(found))
    assert first.status == "works"


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        ("raise OSError('libcudart.so.12: cannot open shared object file')", "torch fails: OSError: libcudart.so.12"),
        ("import os; os.kill(os.getpid(), 4)", "torch crashed (SIGILL)"),
        ("import os; os._exit(3)", "torch fails: it says nothing"),
        ("import time; time.sleep(60)", "torch did not start within 2 seconds"),
        ("accelerator = None", "torch fails: AttributeError"),
    ],
)
def test_a_broken_torch_is_broken(torch, said, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(torch)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch_check, "_PATIENCE", 2.0 if "sleep" in torch else 60.0)
    found = probe()
    assert isinstance(found, Finding)
    assert found.status == "broken"
    assert found.what.startswith(said)
    assert found.mend


def test_what_the_child_prints_besides_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "probe.py").write_text(f"def main(): print('hello'); print({json.dumps(CPU)!r}); print()")
    monkeypatch.setattr(
        torch_check, "_PROBE", f"import sys; sys.path[:] = [{str(tmp_path)!r}]; from probe import main; main()"
    )
    assert probe() == CPU
    assert sys.path != [str(tmp_path)]


def test_wrong_arithmetic_is_broken():
    (wrong,) = [one for one in check_torch(CPU | {"wrong_products": ["bfloat16"]}) if one.status == "broken"]
    assert "multiplies wrongly in bfloat16 on the CPU" in wrong.what
    (wrong,) = [one for one in check_torch(CPU | {"steps": False}) if one.status == "broken"]
    assert "slow-fast step" in wrong.what


def test_several_devices_are_told_how_to_use_all():
    first, second = check_torch(CUDA)
    assert "on 2 x Some GPU (30.0 of 80.0 GiB free)" in first.what
    assert second.mend == "accelerate launch --num_processes 2 -m sfpo train ..."


@pytest.mark.usefixtures("gpu_there")
def test_a_gpu_that_is_not_used_has_its_reason(monkeypatch):
    *_, no_build = check_torch(CPU)
    assert (no_build.status, no_build.mend) == ("doubtful", "pip install --force-reinstall torch")
    *_, no_driver = check_torch(CPU | {"built_for": "13.0"})
    assert "built for CUDA 13.0, does not reach it" in no_driver.what
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    *_, hidden = check_torch(CPU | {"built_for": "13.0"})
    assert hidden.mend == "unset CUDA_VISIBLE_DEVICES"
    assert [one.status for one in check_torch(CUDA | {"devices": 1})] == ["works"]
