"""What a misspelt word was meant to be."""

import pytest

from sfpo.nearest import did_you_mean, nearest, unknown


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("sfop", "sfpo"),
        ("SFPO", "sfpo"),
        ("multi-epoch", "multi_epoch"),
        ("ppo", None),
        ("", None),
        ("grp", "grpo"),
        ("loo", "lookahead"),
        ("lo", None),
    ],
)
def test_a_slip_is_told_from_another_word(word, meant):
    assert nearest(word, ["sfpo", "grpo", "multi_epoch", "lookahead"]) == meant


def test_the_sentence_says_what_there_is():
    assert (
        unknown("method", "grp", ["grpo", "sfpo"])
        == "unknown method 'grp' (did you mean grpo?): choose among grpo, sfpo"
    )
    assert did_you_mean("max_stps", ["max_steps"], "--{}") == " (did you mean --max_steps?)"
    assert did_you_mean("something else", ["max_steps"]) == ""
