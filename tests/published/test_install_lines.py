"""Every documented `pip install` line can be installed, and what it installs works together.

A resolver reads the package index but installs nothing. It needs uv and the index; `make test-vllm` has both.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
pytestmark = pytest.mark.skipif(UV is None, reason="uv is not installed: make test-vllm has it")

PAGES = [ROOT / "README.md", ROOT / "recipes" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINE = re.compile(r"pip install ((?:'[^']+'|[\w.\[\]-]+)(?: (?:'[^']+'|[\w.\[\]-]+))*)")


def lines():
    return sorted({found.replace("'", "") for page in PAGES for found in LINE.findall(page.read_text())})


def resolve(requirements, python="3.11"):
    """The versions by name that pip would install, or None if there are none that go together."""
    wanted = [re.sub(r"^sfpo(\[.*\])?$", rf"sfpo\1 @ {ROOT.as_uri()}", one) for one in requirements]
    command = [UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python, "-"]
    done = subprocess.run(command, input="\n".join(wanted), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert "No solution found" in done.stderr, done.stderr
        return None
    return dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)


def test_the_pages_say_how_to_install():
    found = lines()
    assert {"sfpo[trl]", "sfpo[vllm]", "sfpo[verl] verl[vllm] math-verify"} <= set(found), found


@pytest.mark.parametrize(("line", "python"), [*((line, "3.11") for line in lines()), ("sfpo[vllm]", "3.13")])
def test_a_documented_line_resolves(line, python):
    versions = resolve(line.split(), python)
    assert versions is not None, line
    for host in ("trl", "verl"):
        if host in versions and "vllm" in versions:
            # The host's own bounds, whatever our extras say.
            pair = [f"{host}[vllm]=={versions[host]}", f"vllm=={versions['vllm']}"]
            assert resolve(pair, python) is not None, pair


def test_a_newer_vllm_than_trl_knows_does_not_resolve():
    assert resolve(["sfpo[vllm]", "vllm>=0.33"]) is None


def test_no_older_python_is_promised_than_works():
    assert resolve(["sfpo[trl]"], "3.11") is not None
    assert resolve(["trl>=1.16"], "3.10") is None
