"""The report about a run whose α comes from a KL budget."""

import json
from dataclasses import replace

import pytest
from report_folders import write_run

from sfpo.report.content import content_of
from sfpo.report.folder import read_folder


@pytest.fixture
def run(tmp_path):
    """Twelve steps; the line search acts in the second, and the last two have no advantage."""
    write_run(tmp_path / "run", closed_from=99)
    file = tmp_path / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in (row for row in rows if row["kind"] == "train"):
        step = row["step"]
        row.pop("sfpo/z", None)
        row |= {"sfpo/gate_closed": 0.0, "sfpo/alpha": float(step), "sfpo/active_share": 1.0}
        if step > 10:
            row |= {"sfpo/alpha": 0.0, "sfpo/active_share": 0.0}
            continue
        row |= {"sfpo/kl_budget": 0.03, "sfpo/kl_predicted": 0.002, "sfpo/kl_reached": 0.015}
        row["sfpo/line_search_steps"] = float(step == 2)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_folder(tmp_path / "run")


def test_alpha_the_budget_and_the_kl_are_drawn_and_told(run):
    (detail,) = content_of(run).runs
    figures = {figure.name: figure for figure in detail.gate}
    assert figures["alpha"].series[0].y == [*map(float, range(1, 11)), 0.0, 0.0]
    budget = {series.name: series.y for series in figures["kl"].series}
    assert budget["budget"] == [0.03] * 10 + [None] * 2
    assert budget["reached before the slow pass"][:10] == [0.015] * 10
    for said in (
        "in 10 of 12 steps: 1 to 10, median 5.5",
        "at 50% of the budget",
        "moved back 1 time.",
        "In 2 steps no completion had an advantage",
        "gate never closed",
    ):
        assert said in detail.gate_sentence


def test_idle_steps_are_not_the_gates_nor_the_configurations(run):
    (card,) = [card for card in content_of(run).cards if card.label == "entropy gate"]
    assert (card.value, card.detail) == ("open", "closed in 0 of 12 steps")
    idle = replace(run, steps=run.steps[10:])  # no step had a budget to keep
    assert content_of(idle).runs[0].gate_sentence == (
        "The entropy gate never closed. In 2 steps no completion had an advantage, and they were plain GRPO."
    )


@pytest.mark.parametrize(
    ("gate", "said"), [({}, "No gate acted: "), ({"sfpo/gate_closed": 0.0}, "The gate's window of 10 was never full")]
)
def test_a_step_of_gxpo_without_a_gradient_is_not_the_gates(run, gate, said):
    steps = [{"step": step, "sfpo/alpha": 0.5 * (step > 1)} | gate for step in (1, 2, 3)]
    gxpo = replace(run, method="gxpo", steps=steps, settings=run.settings | {"entropy_window": 10})
    (detail,) = content_of(gxpo).runs
    assert said in detail.gate_sentence
    assert detail.gate_sentence.endswith("α was 0.5 in all 3 steps but 1, in which no completion had an advantage.")
