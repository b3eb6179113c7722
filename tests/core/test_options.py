"""Flags and configurations, which every command reads in the same way."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from sfpo.errors import UsageError
from sfpo.options import Parser, check_at_least, config_of, flags, free_folder, given


def test_flags_keep_their_words_and_negative_numbers_are_values():
    arguments = ["stray", "--alpha=0.5", "--names", "a", "b", "--beta", "-1", "--no_clean_data", "--dry_run"]
    assert flags(arguments) == [
        ("", ["stray"]),
        ("alpha", ["--alpha=0.5"]),
        ("names", ["--names", "a", "b"]),
        ("beta", ["--beta", "-1"]),
        ("clean_data", ["--no_clean_data"]),
        ("dry_run", ["--dry_run"]),
    ]
    assert given(arguments) == {"alpha": 0.5, "names": ["a", "b"], "beta": -1, "clean_data": False, "dry_run": True}


def test_a_flag_with_hyphens_is_the_one_with_underscores():
    arguments = ["--inner-steps", "2", "--kl-budget=1e-2", "--no-slow-correction", "--output_dir", "a-b"]
    assert flags(arguments) == [
        ("inner_steps", ["--inner_steps", "2"]),
        ("kl_budget", ["--kl_budget=1e-2"]),
        ("slow_correction", ["--no_slow_correction"]),
        ("output_dir", ["--output_dir", "a-b"]),
    ]
    assert given(arguments) == {"inner_steps": 2, "kl_budget": 1e-2, "slow_correction": False, "output_dir": "a-b"}


def test_values_are_read_as_what_they_spell_and_the_last_one_holds():
    arguments = ["--a", "1e-3", "--b", "3", "--c", "False", "--gate", "exit", "--gate", "off", "--d="]
    assert given(arguments) == {"a": 1e-3, "b": 3, "c": False, "gate": "off", "d": ""}


def test_a_complaint_is_one_line_with_the_command_that_helps(capsys):
    parser = Parser(prog="sfpo report")
    parser.add_argument("--count", type=int)
    with pytest.raises(UsageError, match=r"^argument --count: invalid int value: 'x' \(see sfpo report --help\)$"):
        parser.parse_args(["--count", "x"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no configuration file"),
        (b"a: [", "is not YAML"),
        (b"\xff", "is not YAML"),
        (b"- a", "must hold"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path, content, said):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=said) as refused:
        config_of(["--config", str(path)])
    assert "\n" not in str(refused.value)


def test_a_configuration_is_read_where_one_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_text("alpha: 0.5")
    assert config_of(["--config", str(tmp_path / "recipe.yaml"), "--beta", "1"]) == {"alpha": 0.5}
    assert config_of(["--beta", "1"]) == {}
    with pytest.raises(UsageError, match="no name was given"):
        config_of(["--config"])


def test_a_folder_that_is_taken_gets_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert free_folder("gym:x/y-sfpo") == "runs/gym-x-y-sfpo"
    for name in ("gym-x-y-sfpo", "gym-x-y-sfpo-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert free_folder("gym:x/y-sfpo") == "runs/gym-x-y-sfpo-3"


def test_numbers_below_the_minimum_are_refused():
    options = SimpleNamespace(limit=None, samples=1, every=0)
    check_at_least(1, options, "limit", "samples")
    with pytest.raises(UsageError, match="--every must be at least 1, got 0"):
        check_at_least(1, options, "limit", "every")


@pytest.mark.parametrize("arguments", [["train", "--method", "ppo"], ["compare", "--methods=grpo,ppo:alpha=1"]])
def test_a_misspelt_method_is_refused_before_torch_is_imported(arguments):
    script = "import sys; from sfpo.cli import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    assert "unknown method 'ppo'" in done.stderr


@pytest.mark.parametrize("command", ["--help", "grade --gold 1 --response 1"])
def test_commands_that_need_torch_alone_import_nothing_else(command):
    # What a machine without the trl extra lacks, or what takes seconds.
    script = (
        "import sys; from sfpo.cli import main; main(sys.argv[1:]); print({'torch', 'yaml', 'rich'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script, *command.split()], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
