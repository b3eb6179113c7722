"""What a package index gets: an sdist that passes its own tests, and a wheel that runs."""

import os
import subprocess
import sys
import tarfile
import zipfile

import pytest
from repository import ROOT

import sfpo

pytest.importorskip("hatchling", reason="the build backend is not installed: make test installs it")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT)
    return folder


def run(command, **where):
    done = subprocess.run(command, capture_output=True, text=True, **where)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built / f"sfpo-{sfpo.__version__}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


def test_the_sdist_passes_its_own_tests(unpacked):
    """Those that need no training, of what is published and of the core; the rest is the same code as here."""
    published = ["test_results.py", "test_project_files.py", "test_paper_reductions.py", "test_examples.py"]
    tests = [
        "tests/core/test_gate.py",
        "tests/core/test_slow_fast.py",
        *(f"tests/published/{name}" for name in published),
    ]
    run(
        [sys.executable, "-m", "pytest", "-q", *tests],
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked / "src")},
    )


def test_the_wheel_runs_and_has_each_licence_once(built, tmp_path):
    with zipfile.ZipFile(built / f"sfpo-{sfpo.__version__}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
        wheel.extractall(tmp_path)
    licences = [name.rpartition("/")[2] for name in names if "LICENSE" in name]
    assert sorted(licences) == ["LICENSE", "d3.LICENSE", "plot.LICENSE"]
    assert not [name for name in names if name.startswith(("tests", "docs"))]
    command = [sys.executable, "-c", "import sys; from sfpo.cli import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    shown = run([*command, "--version"], cwd=tmp_path, env=environment)
    assert shown.strip() == sfpo.__version__
    words = ["train", "--max_steps", "1", "--eval_problems", "8", "--per_device_train_batch_size", "8"]
    run([*command, *words, "--output_dir", str(tmp_path / "run")], cwd=tmp_path, env=environment)
    assert (tmp_path / "run" / "README.md").is_file()
    run([*command, "report", str(tmp_path / "run")], cwd=tmp_path, env=environment)
