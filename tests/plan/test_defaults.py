"""`sfpo plan` assumes what `sfpo train` would do."""

import pytest

from sfpo.plan import options
from sfpo.training.options import parse


@pytest.mark.parametrize("model", ["embedded", "some/model"])
def test_the_defaults_of_a_plan_are_those_of_a_run(model):
    run = parse(["--model", model, "--output_dir", "run"])
    planned = options.defaults(model)
    # Where there is no accelerator, the CPU decides on bf16 of a model that is not ours.
    unknown = {"prompt_length", "active_share", "distinct_share", "devices"}
    unknown |= {"bf16"} if model != "embedded" else set()
    for name in planned.keys() - unknown:
        parts = (run.command, run.training, run.model)
        (value,) = (getattr(part, name) for part in parts if hasattr(part, name))
        assert planned[name] == value, name
