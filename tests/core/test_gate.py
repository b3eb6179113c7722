"""The entropy gate against a plain numpy computation."""

import json

import numpy as np
import pytest

from sfpo import EntropyGate


def plain_gate(entropies, alpha, window, threshold, sides, mode, includes_current):
    """α per step, from the whole history each time."""
    alphas, left = [], False
    for s in range(len(entropies)):
        held = entropies[max(0, s + 1 - window) : s + 1] if includes_current else entropies[max(0, s - window) : s]
        outside = False
        if len(held) == window:
            z = (entropies[s] - np.mean(held)) / np.std(held)
            outside = (abs(z) if sides == "two" else z) >= threshold
        left = left or outside
        alphas.append(0.0 if (left if mode == "exit" else outside) else alpha)
    return alphas


@pytest.mark.parametrize("includes_current", [True, False])
@pytest.mark.parametrize("mode", ["exit", "reversible"])
@pytest.mark.parametrize("sides", ["two", "upper"])
@pytest.mark.parametrize(("window", "threshold"), [(2, 0.5), (10, 1.5), (30, 1.0), (30, 2.5)])
def test_equals_numpy_on_random_walks_across_a_restart(window, threshold, sides, mode, includes_current):
    seen = set()
    for seed in range(5):
        generator = np.random.default_rng(seed)
        entropies = 1.0 + 0.01 * np.cumsum(generator.normal(size=200))
        settings = (0.8, window, threshold, sides, mode, includes_current)
        gate, alphas = EntropyGate(*settings), []
        for step, entropy in enumerate(entropies):
            if step == 73:
                saved = json.loads(json.dumps(gate.state_dict()))
                gate = EntropyGate(*settings)
                gate.load_state_dict(saved)
            alphas.append(gate.update(float(entropy)))
        assert alphas == plain_gate(entropies, *settings)
        assert set(alphas[: window - 1]) == {0.8}
        seen |= set(alphas)
    assert seen == {0.0, 0.8}


def test_a_steady_decline_closes_two_sides_and_not_the_upper():
    decline = np.linspace(2.0, 0.5, 100)
    two, upper = (EntropyGate(window=30, threshold=1.0, sides=sides) for sides in ("two", "upper"))
    assert [two.update(h) for h in decline].index(0.0) == 29
    assert all(upper.update(h) == 0.8 for h in decline)


def test_constant_entropy_is_inside_the_band():
    gate = EntropyGate(window=7, threshold=0.1)
    assert all(gate.update(0.1 + 0.2) == 0.8 for _ in range(20))


def test_band_is_reported_once_the_window_is_full():
    gate = EntropyGate(window=3, threshold=5.0)
    for entropy in (1.0, 2.0):
        gate.update(entropy)
        assert gate.z is None
    gate.update(3.0)
    assert (gate.mean, gate.std, gate.z) == pytest.approx((2.0, (2 / 3) ** 0.5, 1.5**0.5))


def test_reopened_window_can_be_shorter():
    long, short = EntropyGate(window=20), EntropyGate(window=5)
    for entropy in range(20):
        long.update(float(entropy % 3))
    short.load_state_dict(long.state_dict())
    assert short.state_dict()["entropies"] == long.state_dict()["entropies"][-5:]


@pytest.mark.parametrize("entropy", [float("nan"), float("inf"), -float("inf")])
def test_entropy_that_is_no_number_is_refused_and_not_kept(entropy):
    gate = EntropyGate()
    gate.update(1.0)
    before = gate.state_dict()
    with pytest.raises(ValueError, match="entropy is"):
        gate.update(entropy)
    assert gate.state_dict() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 1}, "window"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": 1.1}, "alpha"),
        ({"sides": "lower"}, "sides"),
        ({"mode": "never"}, "mode"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        EntropyGate(**arguments)
