"""The curves of the live panel."""

import pytest

from sfpo.training.progress import _sparkline


@pytest.mark.parametrize("value", [0.0, 0.8, -3.0])
def test_what_does_not_change_is_drawn_in_the_middle(value):
    assert _sparkline([value] * 3) == "▄▄▄"


def test_what_changes_spans_all_bars():
    assert _sparkline([0.0, 1.0, 0.5]) == "▁█▅"
