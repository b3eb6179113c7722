"""What the gate is asked and what is logged of it, in TRL's and verl's trainers alike."""

import math

import pytest

from sfpo.gate import EntropyGate
from sfpo.settings import ask_gate


def test_without_a_gate_the_entropy_is_logged_if_it_was_measured():
    assert ask_gate(None, 1.5) == {"entropy": 1.5}
    assert ask_gate(None, None) == {}


def test_a_gate_answers_and_says_from_what():
    gate = EntropyGate(alpha=0.8, window=2, threshold=0.5)
    assert ask_gate(gate, 1.0) == {"entropy": 1.0, "gate_closed": 0.0}
    assert ask_gate(gate, 2.0) == pytest.approx(
        {"entropy": 2.0, "gate_closed": 1.0, "z": 1.0, "entropy_mean": 1.5, "entropy_std": 0.5}
    )
    assert gate.closed


def test_a_gate_needs_an_entropy_that_is_a_number():
    with pytest.raises(ValueError, match="nan"):
        ask_gate(EntropyGate(), math.nan)


@pytest.mark.parametrize("mode", ["exit", "reversible"])
def test_a_batch_without_a_token_leaves_window_and_verdict_as_they_are(mode):
    gate = EntropyGate(window=2, threshold=0.5, mode=mode)
    for _ in range(20):  # at the start, where zeros would fill the window
        assert ask_gate(gate, None) == {"gate_closed": 0.0}
    for entropy in (1.0, 2.0):
        ask_gate(gate, entropy)
    assert gate.closed
    before = gate.state_dict()
    assert ask_gate(gate, None) == {"gate_closed": 1.0}
    assert gate.state_dict() == before
