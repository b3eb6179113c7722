"""The files by which a repository presents itself: metadata, citation, workflows, templates."""

import re
import shutil
import subprocess

import pytest
import yaml
from repository import ROOT

import sfpo

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings it")
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLACEHOLDER = "https://sfpo.example"


def test_the_version_is_in_one_place():
    assert METADATA["project"]["dynamic"] == ["version"]
    place = ROOT / METADATA["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{sfpo.__version__}"' in place.read_text()
    assert "version:" not in re.sub("cff-version:", "", (ROOT / "CITATION.cff").read_text())


def test_the_sdist_has_every_file_of_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    included = METADATA["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    patterns = [re.compile(re.escape(pattern).replace(r"\*", ".*") + "(/|$)") for pattern in included]
    always = {"pyproject.toml", ".gitattributes"}
    missing = [
        name for name in listed.stdout.split() if name not in always and not any(p.match(f"/{name}") for p in patterns)
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["ci", "release"])
def test_workflows_call_the_same_script_as_developers(name):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps
    assert workflow["permissions"] == {"contents": "read"}
    for command in filter(None, steps):
        for target in re.findall(r"make (\S+)", command):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_templates_and_citation_are_read():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        template = yaml.safe_load(path.read_text())
        assert path.stem == "config" or {"name", "description", "body"} <= template.keys()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "title", "message", "authors"} <= citation.keys()


def test_make_help_lists_every_target():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert re.findall(r"^  make (\S+)  ", shown, re.M) == targets
    assert subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout == shown


def test_a_release_names_its_own_addresses(tmp_path):
    names = ("pyproject.toml", "mkdocs.yml", "CITATION.cff", "SECURITY.md", "CODE_OF_CONDUCT.md", "README.md")
    for name in names:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "set_addresses.sh", tmp_path / "scripts")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    addresses = ["https://host.test/owner/sfpo", "https://owner.host.test/sfpo"]
    subprocess.run(["scripts/set_addresses.sh", *addresses], cwd=tmp_path, check=True)
    assert not [name for name in names if PLACEHOLDER in (tmp_path / name).read_text()]
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Issues"] == "https://host.test/owner/sfpo/issues"
    assert urls["Changelog"] == "https://owner.host.test/sfpo/changelog/"


def test_the_container_installs_extras_that_exist():
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / "Dockerfile").read_text())
    assert set(extras.split(",")) <= METADATA["project"]["optional-dependencies"].keys()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M):
        for part in name.split():
            assert f"!{part.removeprefix('./')}" in ignored
            assert (ROOT / part).exists()
