"""What a machine with torch alone says of the parts that need more."""

import subprocess
import sys

import pytest
from core_only import CORE_ONLY, EXTRAS


def core_only(code):
    """Exit code, output and errors of a program on a machine with torch alone."""
    program = CORE_ONLY.format(absent=EXTRAS) + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("from sfpo.trl import SFPOTrainer", "pip install 'sfpo[trl]'"),
        ("import sfpo.trl.config", "pip install 'sfpo[trl]'"),
        ("import sfpo.verl", "pip install 'sfpo[verl]'"),
        ("from sfpo.verl import SFPOTrainer", "pip install 'sfpo[verl]'"),
    ],
)
def test_an_import_names_the_extra_in_its_last_line(code, said):
    exit_code, _, errors = core_only(code)
    assert exit_code == 1
    assert errors.count("Traceback") == 1
    last = errors.strip().splitlines()[-1]
    assert "MissingExtraError" in last
    assert " is not installed: " in last
    assert said in last


def command(*arguments):
    return core_only(f"from sfpo.cli import main\nsys.exit(main({list(arguments)!r}))")


@pytest.mark.parametrize("arguments", [["train"], ["compare", "--output_dir", "x"], ["eval"], ["plan"]])
def test_a_command_names_the_extra(arguments):
    exit_code, _, errors = command(*arguments)
    assert exit_code == 2
    assert errors.count("\n") == 1
    assert errors.startswith(f"sfpo {arguments[0]}: ")
    assert errors.endswith(" is not installed: pip install 'sfpo[trl]'\n")


def test_grading_what_needs_sympy_names_the_extra():
    exit_code, out, errors = command("grade", "--gold", "x^2+2x+1", "--response", r"\boxed{(x+1)^2}")
    assert (exit_code, out) == (2, "")
    assert (
        errors == "sfpo grade: grading this answer needs math-verify: pip install 'sfpo[trl]', or math-verify alone\n"
    )


def test_the_rest_works_without():
    exit_code, out, errors = command("grade", "--gold", "12", "--response", r"\boxed{12}")
    assert exit_code == 0, errors
    assert '"status": "correct"' in out
    exit_code, _, errors = core_only(
        "from sfpo import SlowFast, EntropyGate, TrustRegion\nassert 'trl' not in sys.modules"
    )
    assert exit_code == 0, errors
