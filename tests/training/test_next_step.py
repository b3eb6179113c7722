"""The commands that the end of a run suggests."""

import shlex

import pytest

from sfpo.training.next_step import next_commands
from sfpo.training.options import parse


def suggested(arguments, folder="runs/a"):
    report, method, again = next_commands(shlex.split(arguments), folder)
    assert shlex.split(report)[1:] == ["report", folder]
    return method, shlex.join(shlex.split(again)[1:])


@pytest.mark.parametrize(
    ("arguments", "method", "again"),
    [
        ("", "grpo", "train --method grpo"),
        ("--max_steps 9 --task gym:chain_sum", "grpo", "train --method grpo --max_steps 9 --task gym:chain_sum"),
        ("--alpha 0.5 --inner_steps=5 --gate exit --seed 3", "grpo", "train --method grpo --seed 3"),
        ("--method gxpo --gxpo_moments running --temperature 0.9", "grpo", "train --method grpo --temperature 0.9"),
        ("--method multi_epoch --target_kl 0.1", "grpo", "train --method grpo"),
        ("--method grpo --alpha 0 --max_steps 9", "sfpo", "train --method sfpo --max_steps 9"),
        ("--output_dir runs/a --bf16", "grpo", "train --method grpo --bf16 --output_dir runs/a-grpo"),
        ("--resume_from_checkpoint last --output_dir runs/a", "grpo", "train --method grpo --output_dir runs/a-grpo"),
    ],
)
def test_the_other_method_is_suggested_with_the_settings_of_the_run(arguments, method, again):
    assert suggested(arguments) == (method, again)
    parse(shlex.split(again)[1:])  # nothing in it is refused


def test_a_configuration_goes_along_but_not_its_folder(tmp_path):
    path = tmp_path / "a b.yaml"
    path.write_text("method: gxpo\ninner_steps: 7\noutput_dir: runs/a\n")
    method, again = suggested(shlex.join(["--config", str(path)]))
    assert method == "grpo"
    assert again == shlex.join(["train", "--method", "grpo", "--config", str(path), "--output_dir", "runs/a-grpo"])
    assert parse(shlex.split(again)[1:]).training.alpha == 0.0


def test_as_a_module_it_is_suggested_as_one(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/sfpo/__main__.py", "train"])
    assert " -m sfpo report " in next_commands([], "runs/a")[0]
