"""What a comparison's tables say, from records written by hand."""

import pytest
from comparisons import write_comparison

from sfpo.records.summary import write_summary


def row_of(text, variant):
    return next(line for line in text.splitlines() if line.startswith(f"| {variant} |"))


def test_a_target_met_before_training_is_said_to_be_met_from_the_start(tmp_path):
    write_comparison(
        tmp_path,
        {
            "grpo": [0.5, 0.4, 0.4, 0.4, 0.4],
            "multi_epoch": [0.5, 0.1, 0.1, 0.1, 0.1],
            "sfpo": [0.5, 0.9, 0.9, 0.9, 0.9],
        },
    )
    summary = write_summary(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert row_of(text, "grpo").split(" | ")[3] == "from the start"
    assert row_of(text, "sfpo").split(" | ")[2:4] == ["0", "from the start"]
    assert row_of(text, "multi_epoch").split(" | ")[2:4] == ["never", "never reached"]
    assert summary["variants"]["sfpo"]["rollout_reduction"]["from_start"] == 1.0
    assert "from_start" not in summary["variants"]["multi_epoch"]["rollout_reduction"]
    assert "Too few" not in text


def test_a_target_that_only_grpo_met_before_training_is_not_said_to_be_never_reached(tmp_path):
    write_comparison(tmp_path, {"grpo": [0.6, 0.5, 0.4, 0.3, 0.2], "sfpo": [0.6, 0.1, 0.7, 0.9, 0.9]})
    write_summary(tmp_path)
    cells = row_of((tmp_path / "summary.md").read_text(), "sfpo").split(" | ")
    assert float(cells[2].replace(",", "")) > 0
    assert cells[3] == "0× (GRPO at start)"


@pytest.mark.parametrize(("evaluations", "too_few"), [(2, True), (3, True), (4, False)])
def test_two_or_three_evaluations_are_said_to_be_too_few(tmp_path, evaluations, too_few):
    write_comparison(tmp_path, {"grpo": [0.1 * index for index in range(evaluations)]})
    write_summary(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert (f"Too few evaluations:** {evaluations}, " in text) is too_few
