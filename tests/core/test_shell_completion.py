"""`sfpo completion`: what a shell offers for what is typed so far."""

import shutil
import subprocess

import pytest

from sfpo.cli import main

_ASK = """source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
$(complete -p sfpo | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    import contextlib
    import io

    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        assert main(["completion", "bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "sfpo.bash"
    path.write_text(written.getvalue())
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tr", "train"),
        ("train --method sf", "sfpo"),
        ("train --inner", "--inner_steps"),
        ("train --lora_r", "--lora_r"),
        ("train --task gym:countd", "gym:countdown"),
        ("train --task dapo+", "dapo+math"),
        ("compare --seed", "--seeds"),
        ("compare --learning_r", "--learning_rate"),
        ("plan --hardware rtx", "rtx4090-24gb"),
        ("eval --benchmarks math", "math500"),
        ("grade --g", "--gold"),
        ("report --p", "--png"),
        ("doc", "doctor"),
        ("doctor --j", "--json"),
    ],
)
def test_bash_offers_commands_options_and_names(script, typed, offered):
    command = ["bash", "-c", _ASK, "bash", str(script), "sfpo", *typed.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [offered]


def test_another_shell_is_refused_in_one_line(capsys):
    assert main(["completion", "bsh"]) == 2
    assert "(did you mean bash?)" in capsys.readouterr().err
