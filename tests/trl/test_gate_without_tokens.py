"""A batch whose completions are all cut off and masked has no entropy, and the gate keeps its state."""

import pytest
from tiny_runs import train

from sfpo.trl import SFPOConfig, SFPOTrainer


@pytest.mark.parametrize("compact", [True, False])
def test_batches_that_are_all_cut_off_tell_the_gate_nothing(tiny_model, tmp_path, compact):
    trainer = train(
        SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=12, max_completion_length=1, compact_passes=compact,
        mask_truncated_completions=True, gate="exit", gate_sides="two", entropy_window=20,
    )  # fmt: skip
    rows = [row for row in trainer.state.log_history if "sfpo/alpha" in row]
    cut_off = [row["completions/clipped_ratio"] == 1.0 for row in rows]
    assert {True, False} == set(cut_off)
    assert [("sfpo/entropy" in row) is not cut for row, cut in zip(rows, cut_off, strict=True)] == [True] * 12
    entropies = [row["sfpo/entropy"] for row in rows if "sfpo/entropy" in row]
    assert min(entropies) > 0.0
    assert trainer.gate.state_dict()["entropies"] == pytest.approx(entropies)
    assert {row["sfpo/gate_closed"] for row in rows} == {0.0}
    assert {row["sfpo/alpha"] for row in rows} == {0.8}
