"""The settings that the integrations share."""

import pytest
import torch

from sfpo import EntropyGate, SlowFast
from sfpo.settings import SlowFastSettings


def test_defaults_are_the_papers_but_for_the_gate():
    settings = SlowFastSettings()
    settings.check_slow_fast()
    gate = settings.make_gate()
    assert (settings.inner_steps, gate.alpha, gate.window, gate.threshold) == (3, 0.8, 10, 1.5)
    assert (gate.sides, gate.mode) == ("upper", "exit")


def test_the_settings_have_the_defaults_of_what_they_make():
    weight = torch.nn.Parameter(torch.zeros(1))
    algorithm = SlowFast([weight])
    assert (algorithm.inner_steps, algorithm.alpha) == (SlowFastSettings.inner_steps, SlowFastSettings.alpha)
    assert vars(SlowFastSettings().make_gate()) == vars(EntropyGate())


@pytest.mark.parametrize("word", ["off", False])
def test_words_mean_what_they_say(word):
    settings = SlowFastSettings(gate=word, snapshot_device="None")
    settings.check_slow_fast()
    assert settings.make_gate() is None
    assert settings.snapshot_device is None


@pytest.mark.parametrize(
    "wrong", [{"inner_steps": 0}, {"gate": "open"}, {"gate": "off", "alpha": 2.0}, {"gate_sides": "lower"}]
)
def test_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong)).removeprefix("gate_")):
        SlowFastSettings(**wrong).check_slow_fast()
