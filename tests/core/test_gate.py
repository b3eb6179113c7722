"""The entropy gate against a plain numpy computation."""

import json
import math

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


@pytest.mark.parametrize("entropy", [0.0, 0.1 + 0.2, 1e6 / 23])
def test_constant_entropy_is_inside_the_band(entropy):
    gate = EntropyGate(window=7, threshold=0.1, sides="two")
    for step in range(20):
        assert gate.update(entropy) == 0.8
        assert gate.z == (0.0 if step >= 6 else None)


@pytest.mark.parametrize(
    ("entropies", "z"),
    [
        ((0.0, 2e-12), 0.0),
        ((0.0, 3e-12), 1.0),
        ((1e-3, 1e-3 + 2e-13), 0.0),
    ],
)
def test_a_variation_below_1e_minus_12_is_rounding(entropies, z):
    gate = EntropyGate(window=2, sides="two")
    for entropy in entropies:
        gate.update(entropy)
    assert gate.z == pytest.approx(z)


@pytest.mark.parametrize(("entropy", "z"), [(1.0, math.inf), (-1.0, -math.inf), (1e-12, 0.0), (-1e-12, 0.0)])
def test_a_value_after_a_constant_window_is_inside_or_infinitely_far(entropy, z):
    gate = EntropyGate(window=2, threshold=1e6, sides="two", includes_current=False)
    for before in (0.0, 0.0):
        gate.update(before)
    assert gate.update(entropy) == (0.0 if z else 0.8)
    assert gate.z == z


def test_the_edge_of_the_band_is_outside():
    gate = EntropyGate(window=2, threshold=1.0)
    assert [gate.update(entropy) for entropy in (0.0, 2.0)] == [0.8, 0.0]
    assert gate.z == 1.0


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_of_alpha_are_allowed(alpha):
    assert EntropyGate(alpha=alpha).update(1.0) == alpha


def test_defaults_are_those_that_were_measured():
    gate = EntropyGate()
    assert (gate.alpha, gate.window, gate.threshold) == (0.8, 10, 1.5)
    assert (gate.sides, gate.mode, gate.includes_current) == ("upper", "exit", True)
    assert gate.closed is False


def test_band_is_reported_once_the_window_is_full():
    gate = EntropyGate(window=3, threshold=5.0)
    start = gate.state_dict()
    assert (gate.mean, gate.std, gate.z) == (None, None, None)
    for entropy in (1.0, 2.0):
        gate.update(entropy)
        assert (gate.mean, gate.std, gate.z) == (None, None, None)
    gate.update(3.0)
    assert (gate.mean, gate.std, gate.z) == pytest.approx((2.0, (2 / 3) ** 0.5, 1.5**0.5))
    gate.load_state_dict(start)
    gate.update(4.0)
    assert (gate.mean, gate.std, gate.z) == (None, None, None)


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
        ({"sides": "lower"}, r"sides must be one of \('two', 'upper'\), got 'lower'"),
        ({"mode": "never"}, r"mode must be one of \('exit', 'reversible'\), got 'never'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        EntropyGate(**arguments)


@pytest.mark.parametrize(("mode", "closed"), [("reversible", False), ("exit", True)])
def test_a_saved_gate_that_gets_a_larger_window_is_open_without_a_band_if_it_may_open_again(mode, closed):
    saved = EntropyGate(alpha=0.8, window=2, threshold=1.0, mode=mode)
    for entropy in (1.0, 1.1, 9.0):
        saved.update(entropy)
    assert saved.closed
    gate = EntropyGate(alpha=0.8, window=10, threshold=1.0, mode=mode)
    gate.load_state_dict(saved.state_dict())
    gate.update(1.0)
    assert gate.closed is closed
