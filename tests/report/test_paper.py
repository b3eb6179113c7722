"""Figures for papers and notebooks."""

import xml.etree.ElementTree as ElementTree

import pytest
from repository import ROOT

from sfpo.cli import main
from sfpo.report import figures


@pytest.fixture(scope="module")
def drawn():
    """The figures of a comparison with six variants."""
    return figures(ROOT / "results" / "embedded-trust-region")


def test_the_figures_are_there_by_name_in_the_order_of_the_page(drawn):
    assert list(drawn)[:4] == ["accuracy_by_rollouts", "accuracy_by_seconds", "rollout_reduction", "time_reduction"]
    assert "accuracy_by_rollouts_error" in drawn
    assert {figure.get_figwidth() for figure in drawn.values()} == {3.5}


def test_a_legend_lies_over_no_curve(drawn):
    for name in ("accuracy_by_rollouts", "accuracy_by_rollouts_error", "time", "alpha"):
        canvas = drawn[name]
        canvas.draw_without_rendering()
        (legend,), (axes,) = canvas.legends, canvas.axes
        box = legend.get_window_extent()
        assert not box.overlaps(axes.get_tightbbox()), name
        assert box.x0 >= 0
        assert box.x1 <= canvas.bbox.x1, name


def test_every_axis_has_a_label(drawn):
    for name, canvas in drawn.items():
        (axes,) = canvas.axes
        assert axes.get_xlabel(), name
        assert axes.get_ylabel() or name in ("rollout_reduction", "time_reduction", "time"), name


def test_times_fewer_is_said_once(drawn):
    canvas = drawn["rollout_reduction"]
    canvas.draw_without_rendering()
    (axes,) = canvas.axes
    assert axes.get_xlabel() == "times fewer rollouts than GRPO"
    assert not any("×" in label.get_text() for label in axes.get_xticklabels())


def test_a_level_line_lies_above_0():
    (axes,) = figures(ROOT / "results" / "demo" / "sfpo")["alpha"].axes
    assert axes.get_ylim() == (0.0, pytest.approx(0.88))


def test_a_notebook_can_show_one(drawn):
    assert drawn["time"]._repr_png_().startswith(b"\x89PNG")


def test_the_same_figures_are_the_same_files(tmp_path, capsys):
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("metrics.jsonl", "config.yaml"):
            (folder / file).write_bytes((ROOT / "results" / "demo" / "sfpo" / file).read_bytes())
        assert main(["report", str(folder), "--svg"]) == 0
        found.append({path.name: path.read_bytes() for path in (folder / "figures").iterdir()})
    capsys.readouterr()
    assert found[0] == found[1]
    assert all(name.endswith(".svg") for name in found[0])
    ElementTree.fromstring(found[0]["reward.svg"])
