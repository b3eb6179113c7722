"""The pages of the reference agree with the code: every option, and every metric."""

import json
import re
from dataclasses import fields

import pytest
import reference_options
from repository import ROOT
from tiny_runs import reward_low_digits, train

from sfpo.gate import EntropyGate
from sfpo.model.embedded import MODEL_PATH
from sfpo.settings import ask_gate
from sfpo.training.held_out import Evaluation
from sfpo.trl import SFPOConfig, SFPORLOOConfig, SFPORLOOTrainer, SFPOTrainer

METRICS = ROOT / "docs" / "reference" / "metrics.md"
NOT_METRICS = {"step", "kind"}


def test_the_page_of_options_is_that_of_the_parsers():
    assert reference_options.PAGE.read_text() == reference_options.page(), "run python scripts/reference_options.py"


def documented():
    """The names in the first column of the page's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", METRICS.read_text(), re.M))


def general(name):
    name = re.sub(r"^sfpo/pass_\d+/", "sfpo/pass_<k>/", name)
    return re.sub(r"^rewards/[^/]+/", "rewards/<name>/", name)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """The metrics that runs of every kind log."""
    runs = [
        (SFPOTrainer, SFPOConfig, {"entropy_window": 2}),
        # A rate at which the slow pass stays inside the region, so that it measures what was reached.
        (SFPOTrainer, SFPOConfig, {"alpha": "auto", "learning_rate": 1e-5}),
        (SFPOTrainer, SFPOConfig, {"gxpo_moments": "restored"}),
        (SFPOTrainer, SFPOConfig, {"beta": 0.1}),
        (SFPOTrainer, SFPOConfig, {"advantage_estimator": "remax"}),
        (SFPORLOOTrainer, SFPORLOOConfig, {}),
    ]
    names = set()
    for trainer_class, config_class, settings in runs:
        folder = tmp_path_factory.mktemp("run")
        trainer = train(
            trainer_class, config_class, str(MODEL_PATH), folder, reward=reward_low_digits, max_steps=2, **settings
        )
        names |= {general(name) for row in trainer.state.log_history for name in row}
    return names - NOT_METRICS


def test_every_metric_that_is_logged_is_documented(logged):
    assert logged <= documented()


def test_every_documented_metric_is_logged(logged):
    assert documented() <= logged | {f.name for f in fields(Evaluation)}


def test_the_metrics_of_recorded_runs_are_documented():
    for path in (ROOT / "results" / "demo").glob("*/metrics.jsonl"):
        for line in path.read_text().splitlines():
            assert {general(name) for name in json.loads(line)} - NOT_METRICS <= documented(), path


def test_the_metrics_of_verl_are_documented():
    page = (ROOT / "docs" / "integrations" / "verl.md").read_text()
    worker = (ROOT / "src" / "sfpo" / "verl" / "worker.py").read_text()
    gate = EntropyGate(window=2)
    asked = ask_gate(gate, 1.0) | ask_gate(gate, 1.0)
    # The worker puts its prefix before the keys of the dictionaries that it returns.
    names = set(re.findall(r'"([a-z_]+)": ', worker)) | asked.keys()
    assert {"alpha", "kl_reached", "z"} <= names
    assert {name for name in names if f"`sfpo/{name}`" not in page} == set()
