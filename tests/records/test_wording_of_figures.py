"""How accuracies, differences and reductions are written with their intervals."""

import numpy as np
import pytest

from sfpo.records.efficiency import Runs, best, best_evaluation_interval
from sfpo.records.summary import percent, points, times


def interval(value, low=None, high=None, **more):
    return {"value": value, "low": low, "high": high, **more}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (percent(interval(0.941, 0.932, 0.95)), "94.1 % (93.2 to 95.0)"),
        (percent(interval(0.5)), "50.0 %"),
        (points(interval(-0.004, -0.008, -0.001)), "−0.4 points (−0.8 to −0.1)"),
        (points(interval(0.004, -0.001, 0.008)), "+0.4 points (−0.1 to +0.8)"),
        (points(interval(0.0, -0.0001, 0.0004)), "0.0 points (0.0 to 0.0)"),
        (points(interval(0.1)), "+10.0 points"),
        (times(interval(4.1, 3.6, 4.4, never_reached=0.0)), "4.10× (3.60 to 4.40)"),
        (times(interval(1.14, 0.0, 3.69, never_reached=0.2)), "1.14× (never to 3.69)"),
        (times(interval(1.14, 0.9, None, never_reached=0.2)), "1.14× (from 0.90)"),
        (times(interval(0.0, 0.0, 0.0, never_reached=1.0)), "never reached"),
    ],
)
def test_intervals_are_written_with_to_and_differences_in_points(said, expected):
    assert said == expected


def test_the_best_evaluation_is_none_of_the_smoothed_curve():
    accuracy = np.array([[0.1, 0.5, 0.9, 0.7], [0.1, 0.5, 0.7, 0.9]])
    runs = Runs(np.zeros((2, 4)), np.zeros((2, 4)), accuracy)
    found = best_evaluation_interval(runs)
    assert found.value == pytest.approx(0.8)
    assert (found.low, found.high) == (pytest.approx(0.8), pytest.approx(0.9))
    assert best(runs) == pytest.approx(0.8)  # (0.8 + 0.8) / 2 at the end
    assert best_evaluation_interval(Runs(np.zeros((1, 2)), np.zeros((1, 2)), accuracy[:1, :2])).low is None
