"""The stop on KL on its own; `tests/trl/test_auto.py` has it in training."""

import math

import pytest

from sfpo.kl_stop import KLStop


def test_a_step_is_left_out_beyond_one_and_a_half_targets():
    assert [KLStop(0.02).is_outside(kl) for kl in (0.0, 0.029, 0.031)] == [False, False, True]


def test_a_policy_that_has_diverged_is_not_taken_for_a_near_one():
    with pytest.raises(ValueError, match="the KL to the policy that sampled is NaN"):
        KLStop(0.02).is_outside(math.nan)
