"""The methods as settings."""

from dataclasses import fields

import pytest

from sfpo.errors import UsageError
from sfpo.methods import METHODS, refuse_contradiction
from sfpo.trl import SFPOConfig


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_settings_that_there_are(name):
    known = {f.name for f in fields(SFPOConfig)}
    method = METHODS[name]
    assert method.sets.keys() | method.ignores <= known
    assert not method.sets.keys() & method.ignores
    assert method.defaults.keys() <= known - method.sets.keys() - method.ignores
    # Every setting is some method's to choose, or a refusal could not say which.
    assert all(
        any(other.has(setting) for other in METHODS.values()) for setting in method.sets.keys() | method.ignores
    )


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [("sfpo", "alpha", 0.5), ("grpo", "alpha", 0), ("grpo", "gate", "off"), ("lookahead", "alpha", 0.5)],
)
def test_what_is_a_methods_to_choose_or_what_it_sets_anyhow_is_allowed(method, setting, value):
    refuse_contradiction(method, setting, value, "it")


@pytest.mark.parametrize(
    ("method", "setting", "value", "said"),
    [
        (
            "grpo",
            "alpha",
            0.5,
            "method grpo sets alpha to 0.0: leave it out, or choose another method (sfpo, lookahead, gxpo)",
        ),
        ("grpo", "inner_steps", 3, "method grpo has no use for inner_steps"),
        ("multi_epoch", "gate", "exit", "method multi_epoch sets gate to off"),
        ("multi_epoch", "slow_correction", False, "method multi_epoch sets slow_correction to True"),
        ("lookahead", "slow_correction", True, "method lookahead sets slow_correction to False"),
        ("sfpo", "gxpo_moments", "running", "method sfpo has no use for gxpo_moments"),
        ("gxpo", "target_kl", 0.1, "method gxpo has no use for target_kl"),
    ],
)
def test_what_has_no_effect_is_refused_with_the_method_that_has_it(method, setting, value, said):
    with pytest.raises(UsageError) as refused:
        refuse_contradiction(method, setting, value, "this")
    assert said in str(refused.value)
