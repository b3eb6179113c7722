"""The tutorials run: every block of Start, the guides and the integrations' examples, in order, page by page."""

import importlib
import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from reference_options import parser_of
from repository import ROOT
from trl import ModelConfig
from tutorials import Block, blocks_of

from sfpo.cli import main
from sfpo.evaluation.options import EvalOptions
from sfpo.options import flags
from sfpo.training.options import TrainOptions
from sfpo.trl import SFPOConfig

DOCS = ROOT / "docs"
PAGES = [
    DOCS / "index.md",
    DOCS / "method" / "gate.md",
    *sorted((DOCS / "guides").glob("*.md")),
    DOCS / "integrations" / "axolotl.md",
    DOCS / "integrations" / "loop.md",
    DOCS / "integrations" / "own-engine.md",
    DOCS / "integrations" / "trl.md",
]
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]
TRAIN = {f.name for options in (TrainOptions, SFPOConfig, ModelConfig) for f in fields(options)} | {"config"}
OTHER_PROGRAMS = {"docker", "hf", "trl", "uv", "uvx", "pip"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_runs_as_it_is_printed(page, tmp_path, monkeypatch):
    blocks = [block for block in blocks_of(page) if not block.why_not_run and block.language in ("bash", "python")]
    if not blocks:
        pytest.skip("no block of this page runs")
    for name in ("recipes", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        if block.language == "bash":
            run_shell(block)
    if script := "\n".join(block.text for block in blocks if block.language == "python"):
        run_process([sys.executable, "-c", script])


def run_shell(block: Block) -> None:
    """Commands of `sfpo` alone run in this process, which has imported torch already."""
    if all(words[0] == "sfpo" for words in block.commands):
        for words in block.commands:
            assert main(words[1:]) == 0, words
    else:
        run_process(["bash", "-euo", "pipefail", "-c", block.text])


def run_process(command: list[str]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_options_of_every_command_exist(page):
    for block in blocks_of(page):
        if block.language == "bash" and (block.why_not_run or "<<" not in block.text):
            for words in block.commands:
                check_command(words)


def check_command(words: list[str]) -> None:
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program, *arguments = words
    if program == "accelerate":
        assert (ROOT / arguments[arguments.index("--config_file") + 1]).is_file()
        program, arguments = "sfpo", arguments[arguments.index("sfpo.cli") + 1 :]
    if program == "docker" and "sfpo" in arguments[1:]:
        assert (ROOT / "Dockerfile").is_file()
        arguments = arguments[arguments.index("sfpo") + 1 :]
        program = "sfpo" if arguments[0] != "." else "docker"
    if program == "sfpo":
        check_options(*arguments)
    elif program == "python" and arguments[0] == "-m":
        assert find_spec(arguments[1]), arguments[1]
    elif program in ("python", "sbatch"):
        script = next(word for word in arguments if not word.startswith("-"))
        assert (ROOT / script).is_file(), script
    elif "/" in program:
        assert os.access(ROOT / program, os.X_OK), program
        assert not arguments[0].startswith("ds-") or (ROOT / "recipes" / "trl" / f"{arguments[0]}.yaml").is_file()
    elif program in OTHER_PROGRAMS:
        for extra in re.findall(r"sfpo\[([\w,]+)\]", " ".join(arguments)):
            assert set(extra.split(",")) <= extras(), extra
    else:
        assert program in ("head", "trackio", "wandb", "tensorboard", "make"), words


def check_options(command: str, *arguments: str) -> None:
    if command in ("--help", "--version"):
        return
    if command == "train":
        known = TRAIN
    elif command == "eval":
        known = {f.name for f in fields(EvalOptions)}
    else:
        module = {"compare": "comparison", "grade": "grading"}.get(command, command)
        actions = parser_of(f"sfpo.{module}.command")._actions
        known = {word.removeprefix("--").replace("-", "_") for action in actions for word in action.option_strings}
        known |= TRAIN if command == "compare" else set()
    given = {name for name, words in flags(arguments) if name and words[0].startswith("--")}
    unknown = {name for name in given if name not in known and f"no_{name}" not in known}
    assert not unknown, f"sfpo {command}: {unknown}"


def extras() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return set(re.findall(r"^(\w+) = \[", text, re.M))


def test_a_block_with_an_option_that_does_not_exist_is_noticed():
    with pytest.raises(AssertionError, match="inner_stepz"):
        check_command(["sfpo", "train", "--inner_stepz", "5"])
    with pytest.raises(AssertionError, match="nowhere"):
        check_command(["pip", "install", "sfpo[nowhere]"])
    with pytest.raises(AssertionError):
        check_command(["curl", "https://sfpo.example"])


def test_every_block_that_does_not_run_says_why(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs a GPU -->\n```bash\nsfpo train \\\n  --seed 1  # yes\n```\n\n```python\n1\n```\n"
    )
    gpu, python = blocks_of(page)
    assert gpu.why_not_run == "needs a GPU"
    assert gpu.commands == [["sfpo", "train", "--seed", "1"]]
    assert (python.language, python.why_not_run) == ("python", "")


def test_modules_that_the_api_page_documents_exist():
    for name in re.findall(r"^::: (\S+)", (DOCS / "reference" / "api.md").read_text(), re.M):
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
