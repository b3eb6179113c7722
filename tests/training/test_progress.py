"""What the live panel of a run draws."""

import pytest

from sfpo.training.progress import _sparkline


@pytest.mark.parametrize(
    ("values", "bars"),
    [([0.0, 1.0], "▁█"), ([0.8] * 3, "▄▄▄"), ([0.0] * 2, "▄▄"), ([5.0], "▄"), ([1.0, 2.0, 3.0], "▁▅█")],
)
def test_a_value_that_never_changes_is_not_drawn_as_the_lowest(values, bars):
    assert _sparkline(values) == bars


def test_long_histories_are_averaged_to_the_width():
    assert len(_sparkline([float(value) for value in range(1_000)])) == 36
