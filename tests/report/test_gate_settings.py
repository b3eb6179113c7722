"""A report describes each gate with the settings of its own run."""

import json
import shutil

import pytest
from report_folders import write_run
from repository import ROOT

from sfpo.records.comparison import collect
from sfpo.records.summary import write_summary
from sfpo.report.content import content_of
from sfpo.report.folder import read_folder

VARIANTS = {
    "sfpo": {},
    "sfpo,entropy_threshold=2": {"entropy_threshold": "2"},
    "sfpo,gate_sides=two": {"gate_sides": "two", "entropy_threshold": "3", "entropy_window": "7"},
}


@pytest.fixture(params=[True, False], ids=["with its runs", "from its own records"])
def compared(request, tmp_path):
    """A comparison whose gates, all open, differ; as `sfpo compare` leaves it, or as it is kept without its runs."""
    of_all = {"entropy_window": 5, "gate_sides": "upper"}
    for name, own in VARIANTS.items():
        values = {key: value if key == "gate_sides" else float(value) for key, value in own.items()}
        run = {"closed_from": 99, "entropy_threshold": 1.5} | of_all | values
        write_run(tmp_path / "runs" / name / "seed-0", **run)
    variants = [
        {"name": name, "method": "sfpo", "settings": own, "baseline": "grpo"} for name, own in VARIANTS.items()
    ]
    specification = {"command": [], "model": "embedded", "task": "arithmetic", "seeds": [0], "variants": variants}
    specification |= {"train": ["--gate", "exit", "--entropy_window", "5"], "failed": {}}
    (tmp_path / "comparison.json").write_text(json.dumps(specification))
    collect(tmp_path, [(name, 0) for name in VARIANTS])
    write_summary(tmp_path)
    if not request.param:
        shutil.rmtree(tmp_path / "runs")
    return tmp_path, request.param


def figure(run, name):
    return next(one for one in run.gate if one.name == name)


def test_every_variant_is_shown_with_its_own_gate(compared):
    folder, has_runs = compared
    upper, wide, two = content_of(read_folder(folder)).runs
    for run, levels, caption, sentence in (
        (upper, [1.5], "closes where Z reaches", "Z never left what τ = 1.5 allows"),
        (wide, [2.0], "closes where Z reaches", "Z never left what τ = 2 allows"),
        (two, [3.0, -3.0], "closes where |Z| reaches", "Z never left the band of ±3"),
    ):
        assert [level.value for level in figure(run, "z").levels] == levels
        assert caption in figure(run, "z").caption
        assert sentence in run.gate_sentence
    if has_runs:  # the band's mean is in a run's own metrics alone
        for run, low, high, caption in (
            (upper, 0.2, 0.275, "mean of the last 5 steps + 1.5 standard"),
            (wide, 0.2, 0.3, "mean of the last 5 steps + 2 standard"),
            (two, 0.05, 0.35, "mean of the last 7 steps ± 3 standard"),
        ):
            entropy = figure(run, "entropy")
            band = entropy.series[1]
            assert (band.low[-1], band.high[-1]) == (pytest.approx(low), pytest.approx(high))
            assert caption in entropy.caption


def test_a_window_that_was_never_full_is_told_with_its_size(tmp_path):
    run = content_of(read_folder(write_run(tmp_path / "run", steps=5, entropy_window=30))).runs[0]
    assert run.gate_sentence == "The gate's window of 30 was never full: α was 0.8 in all 5 steps."


def test_the_published_comparison_of_gates_shows_each_its_own():
    folder = ROOT / "results" / "embedded-gate"
    shown = {run.name.rpartition(", seed")[0]: run for run in content_of(read_folder(folder)).runs}
    gated = 0
    for variant in json.loads((folder / "comparison.json").read_text())["variants"]:
        run, own = shown[variant["name"]], variant["settings"]
        if own.get("gate", "off") != "off":
            gated += 1
            tau = float(own["entropy_threshold"])
            levels = [tau, -tau] if own["gate_sides"] == "two" else [tau]
            assert [level.value for level in figure(run, "z").levels] == levels, variant["name"]
    assert gated == 12
