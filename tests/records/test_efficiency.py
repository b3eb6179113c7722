"""The definitions of the comparison, on curves whose answers are known by hand."""

import math

import numpy as np
import pytest

from sfpo.records.efficiency import (
    NEARLY,
    Interval,
    Runs,
    band,
    best,
    best_interval,
    first_reached,
    mean_interval,
    reduction,
    smoothed,
)


def runs(*accuracy, per_evaluation=100.0, seconds=2.0):
    accuracy = np.array(accuracy, dtype=float)
    index = np.broadcast_to(np.arange(accuracy.shape[1]), accuracy.shape)
    return Runs(index * per_evaluation, index * seconds, accuracy)


def test_a_curve_is_averaged_with_its_neighbours_and_less_at_its_ends():
    assert smoothed(np.array([0.0, 0.3, 0.6, 0.9])) == pytest.approx([0.15, 0.3, 0.6, 0.75])
    curves = smoothed(np.array([[0.0, 0.3, 0.6, 0.9], [1.0, 1.0, 1.0, 0.0]]))
    assert curves == pytest.approx(np.array([[0.15, 0.3, 0.6, 0.75], [1.0, 1.0, 2 / 3, 0.5]]))


def test_the_target_is_met_between_two_evaluations():
    amount = np.array([0.0, 100.0, 200.0])
    assert first_reached(amount, np.array([0.0, 0.4, 0.8]), 0.6) == pytest.approx(150.0)
    assert first_reached(np.array([100.0, 240.0]), np.array([0.2, 0.9]), 0.65) == pytest.approx(190.0)
    assert first_reached(amount, np.array([0.7, 0.4, 0.8]), 0.6) == 0.0
    assert first_reached(amount, np.array([0.0, 0.4, 0.5]), 0.6) == math.inf


def test_the_reduction_is_to_the_maximum_of_the_seed_mean_not_the_mean_of_maxima():
    baseline = runs([0.0, 0.6, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.6, 0.6])
    assert best(baseline) == pytest.approx(0.3)  # the mean curve's last evaluations
    quick = runs([0.0, 0.6, 0.6, 0.6, 0.6], [0.0, 0.6, 0.6, 0.6, 0.6])
    measured = reduction(quick, baseline, "rollouts")
    # The mean curve is smoothed to [0, .3, ...]: 0.3 is there from the start.
    assert measured.needed.value == pytest.approx(0.0)
    assert measured.reduction.value == math.inf
    assert measured.is_from_start


def test_a_target_that_is_met_before_training_is_neither_reached_nor_never_reached():
    falling = runs([0.8, 0.6, 0.4, 0.2, 0.0], [0.8, 0.6, 0.4, 0.2, 0.0])
    measured = reduction(falling, falling, "rollouts")
    assert (measured.needed.value, measured.reduction.value) == (0.0, 1.0)
    assert (measured.is_from_start, measured.from_start, measured.never_reached) == (True, 1.0, 0.0)
    rising = runs([0.0, 0.2, 0.4, 0.6, 0.8], [0.0, 0.2, 0.4, 0.6, 0.8])
    for amount in ("rollouts", "seconds"):
        measured = reduction(rising, rising, amount)
        assert (measured.is_from_start, measured.from_start) == (False, 0.0)
    measured = reduction(falling, rising, "rollouts")
    assert (measured.is_from_start, measured.reduction.value) == (True, math.inf)
    assert not measured.is_behind_from_start


def test_a_baseline_that_only_falls_is_ahead_of_what_gets_there_later_and_of_what_never_does():
    falling = runs([0.6, 0.5, 0.4, 0.3, 0.2])
    later, never = (reduction(runs(curve), falling, "rollouts") for curve in ([0.5, 0.4, 0.7, 0.9, 0.9], [0.1] * 5))
    assert (later.reduction.value, later.is_behind_from_start, later.never_reached) == (0.0, True, 0.0)
    assert 0 < later.needed.value < math.inf
    assert (never.reduction.value, never.is_behind_from_start, never.never_reached) == (0.0, False, 1.0)


def test_twice_as_fast_is_a_reduction_of_two_in_rollouts_and_seconds():
    slow = runs(*[[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]] * 3)
    fast = runs(*[[0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0]] * 3, seconds=4.0)
    by_rollouts = reduction(fast, slow, "rollouts")
    # GRPO's best is the last smoothed value, 0.75, at rollout 800; the fast curve is there at 375.
    assert by_rollouts.needed.value == pytest.approx(375.0)
    assert by_rollouts.needed.low == by_rollouts.needed.high == by_rollouts.needed.value
    assert by_rollouts.reduction.value == pytest.approx(800 / 375)
    assert by_rollouts.reduction.low == by_rollouts.reduction.high == by_rollouts.reduction.value
    assert reduction(fast, slow, "seconds").reduction.value == pytest.approx(16 / 15)
    assert reduction(slow, slow, "rollouts").reduction.value == 1.0


def test_a_share_of_the_best_is_a_lower_target():
    slow = runs(*[[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]] * 3)
    fast = runs(*[[0.0, 0.2, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]] * 3)
    assert reduction(fast, slow, "rollouts").reduction.value == 0.0
    # 72 % of 0.75 is 0.54: at rollout 540 for the slow curve, 310 for the fast one (smoothed to .533 and .6 there).
    measured = reduction(fast, slow, "rollouts", share=0.72)
    assert measured.needed.value == pytest.approx(310.0)
    assert measured.reduction.value == pytest.approx(540 / 310)


def test_nearly_the_best_is_95_percent_of_it():
    slow = runs(*[[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]] * 3)
    fast = runs(*[[0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0]] * 3)
    # 95 % of 0.75 is 0.7125: a quarter of the way from 0.7 to 0.75, and 9/16 of that from 0.6 to 0.8.
    measured = reduction(fast, slow, "rollouts", share=NEARLY)
    assert measured.needed.value == pytest.approx(356.25)
    assert measured.reduction.value == pytest.approx(725 / 356.25)


def test_neither_improves_on_the_start_and_so_both_need_the_same():
    flat = runs(*[[0.5, 0.5, 0.5]] * 3)
    better = runs(*[[0.6, 0.5, 0.5]] * 3)
    assert reduction(flat, flat, "rollouts").reduction == Interval(1.0, 1.0, 1.0)
    assert reduction(better, flat, "rollouts").reduction == Interval(1.0, 1.0, 1.0)


def test_never_reached_is_a_value_and_its_share_of_the_draws_is_told():
    baseline = runs([0.0, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5])
    worse = runs([0.0, 0.1, 0.1, 0.1], [0.0, 0.1, 0.1, 0.1], [0.0, 0.1, 0.1, 0.1])
    measured = reduction(worse, baseline, "rollouts")
    assert (measured.needed.value, measured.reduction.value, measured.never_reached) == (math.inf, 0.0, 1.0)
    # One seed of three gets there: draws without enough of it do not.
    mixed = runs([0.0, 1.5, 1.5, 1.5], [0.0, 0.1, 0.1, 0.1], [0.0, 0.1, 0.1, 0.1])
    measured = reduction(mixed, baseline, "rollouts")
    assert measured.reduction.value > 0.0
    assert measured.never_reached == pytest.approx((2 / 3) ** 3, abs=0.03)
    assert measured.reduction.low == 0.0
    assert measured.needed.high == math.inf


def test_intervals_are_those_of_the_mean_over_seeds():
    values = np.random.default_rng(1).normal(0.5, 0.1, size=40)
    interval = mean_interval(values)
    error = 1.96 * values.std() / math.sqrt(40)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - error, abs=0.005)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.005)
    low, high = band(values[:, None])
    assert (low[0], high[0]) == pytest.approx((interval.low, interval.high), abs=1e-3)


def test_two_seeds_have_an_interval():
    assert mean_interval(np.array([0.25, 0.75])) == Interval(0.5, 0.25, 0.75)


def test_the_same_seeds_are_drawn_each_time():
    values = np.random.default_rng(2).normal(size=20)
    assert mean_interval(values) == mean_interval(values)


def test_the_best_has_the_interval_of_the_evaluations_that_it_comes_from():
    accuracy = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.1, size=(6, 5)), axis=1)
    found = best_interval(runs(*accuracy))
    last = mean_interval(accuracy[:, -2:].mean(1))  # every curve rises, so the best is its end
    assert (found.value, found.low, found.high) == pytest.approx((last.value, last.low, last.high))
    assert last.low < last.value < last.high


def test_one_seed_has_no_interval():
    one = runs([0.0, 0.2, 0.4])
    assert best_interval(one) == Interval(pytest.approx(0.3), None, None)
    assert reduction(one, one, "rollouts").reduction == Interval(1.0, None, None)
    assert reduction(one, one, "rollouts").never_reached == 0.0
    assert reduction(runs([0.0, 0.1, 0.1]), one, "rollouts").never_reached == 1.0
    low, high = band(one.accuracy)
    assert list(low) == list(high) == [0.0, 0.2, 0.4]


def test_seeds_are_drawn_together_so_that_a_shared_difficulty_cancels():
    # Both methods are equally slow on a hard seed: their ratio is the same for every draw of seeds.
    steps = np.arange(9) / 10
    baseline = runs(steps, steps * 0.5, steps * 0.8)
    twice = runs(*(np.minimum(2 * row, row[-1] * 1.2) for row in baseline.accuracy))
    interval = reduction(twice, baseline, "rollouts").reduction
    assert interval.low == pytest.approx(interval.value, rel=1e-6)
    assert interval.high == pytest.approx(interval.value, rel=1e-6)
