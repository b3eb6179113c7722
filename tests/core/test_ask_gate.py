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


@pytest.mark.parametrize(("entropy", "message"), [(None, "nobody measured it"), (math.nan, "nan")])
def test_a_gate_needs_an_entropy(entropy, message):
    with pytest.raises(ValueError, match=message):
        ask_gate(EntropyGate(), entropy)
