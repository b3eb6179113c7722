"""The settings chosen for a CPU."""

import json
import os
import subprocess
import sys

import pytest
import torch

from sfpo.model.cpu import SPINS, bf16_is_faster, prepare_cpu
from sfpo.model.load import load_model

XEON = "vendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16"


@pytest.mark.parametrize(
    ("cpu", "faster"),
    [
        (f"{XEON} amx_bf16 amx_tile", True),
        (XEON, False),
        ("vendor_id : AuthenticAMD\nflags : fpu avx512f avx512_bf16", True),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2", False),
        ("", False),
    ],
)
def test_bf16_is_chosen_where_the_cpu_multiplies_it_faster(cpu, faster):
    assert bf16_is_faster(cpu) is faster


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, ["PASSIVE", SPINS]),
        ({"GOMP_SPINCOUNT": "5"}, ["PASSIVE", "5"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None]),
    ],
)
def test_threads_wait_for_a_short_while_unless_asked_otherwise(given, chosen):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    script = (
        "import json, os; from sfpo.model import cpu; cpu.before_torch();"
        f"print(json.dumps([os.environ.get(name) for name in {names}]))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    printed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(printed.stdout) == chosen


@pytest.mark.parametrize(
    ("platform", "allowed", "chosen"), [("linux", 4, 2), ("linux", 1, 1), ("darwin", 4, 1), ("win32", 4, 1)]
)
def test_small_models_take_two_threads_where_these_wait_by_spinning(
    platform, allowed, chosen, tiny_model, monkeypatch
):
    model = load_model(tiny_model)
    monkeypatch.setattr("sys.platform", platform)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(allowed)
        said = prepare_cpu(model)
        assert torch.get_num_threads() == chosen
    finally:
        torch.set_num_threads(before)
    assert f"{chosen} thread" in said
