"""A run knows its settings."""

import pytest

from sfpo.methods import METHODS
from sfpo.options import config_of
from sfpo.records.settings import settings_of_run, settings_of_variant
from sfpo.training.options import parse

GATE = ("gate", "gate_sides", "entropy_window", "entropy_threshold", "alpha", "inner_steps")


def gate(settings):
    return tuple(settings[name] for name in GATE)


def test_a_runs_own_settings_stand_over_its_models_and_those_over_all_defaults():
    assert gate(settings_of_run({})) == ("exit", "upper", 10, 1.5, 0.8, 3)
    assert gate(settings_of_run({"model": "embedded"})) == ("off", "upper", 10, 1.5, 0.8, 3)
    own = {"model": "embedded", "gate": "reversible", "entropy_window": 30}
    assert gate(settings_of_run(own)) == ("reversible", "upper", 30, 1.5, 0.8, 3)


@pytest.mark.parametrize(
    ("method", "own", "made"),
    [
        ("sfpo", {}, ("exit", "two", 30, 1.5, 0.8, 5)),
        ("sfpo", {"gate_sides": "upper", "entropy_threshold": "1e0"}, ("exit", "upper", 30, 1.0, 0.8, 5)),
        ("sfpo", {"gate": "off", "inner_steps": "7"}, ("off", "two", 30, 1.5, 0.8, 7)),
        ("grpo", {}, ("off", "upper", 10, 1.5, 0.0, 3)),
        ("multi_epoch", {"inner_steps": "1"}, ("off", "upper", 10, 1.5, 1.0, 1)),
        ("a method that is gone", {}, ("exit", "two", 30, 1.5, 0.8, 5)),
    ],
)
def test_a_variants_settings_stand_over_the_comparisons(method, own, made):
    train = ["--gate", "exit", "--gate_sides=two", "--entropy_window", "10", "--entropy_window", "30"]
    comparison = {"model": "embedded", "task": "arithmetic", "train": [*train, "--inner_steps", "5", "--use_peft"]}
    settings = settings_of_variant(comparison, {"method": method, "settings": own}, {})
    assert gate(settings) == made
    assert settings["method"] == method
    assert settings["use_peft"] is True


def test_a_file_for_all_runs_stands_below_the_flags_and_another_methods_own_are_left_out():
    comparison = {"model": "some/model", "task": "arithmetic", "train": ["--config", "all.yaml", "--inner_steps", "5"]}
    file = {"method": "grpo", "alpha": 0.0, "gate": "off", "entropy_window": 30, "inner_steps": 7}
    settings = settings_of_variant(comparison, {"method": "sfpo", "settings": {}}, file)
    assert gate(settings) == ("exit", "upper", 30, 1.5, 0.8, 5)


@pytest.mark.parametrize("method", METHODS)
def test_they_are_those_that_sfpo_train_reads(method, tmp_path):
    (tmp_path / "all.yaml").write_text("method: sfpo\nalpha: 0.5\nentropy_window: 7\n")
    train = ["--config", str(tmp_path / "all.yaml"), "--save_steps", "3"]
    made = parse([*train, "--method", method, "--learning_rate", "1e-4"]).training
    comparison = {"model": "embedded", "task": "arithmetic", "train": train}
    variant = {"method": method, "settings": {"learning_rate": "1e-4"}}
    settings = settings_of_variant(comparison, variant, config_of(train))
    for name in (*GATE, "save_steps", "learning_rate", *METHODS[method].sets):
        assert settings[name] == getattr(made, name), name
