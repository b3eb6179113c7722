"""The notebook runs from top to bottom, in less than five minutes on a CPU, and shows its figures."""

import os
import sys
from pathlib import Path

import pytest
from repository import ROOT

nbformat = pytest.importorskip("nbformat", reason="no Jupyter here: make test installs it")
nbclient = pytest.importorskip("nbclient", reason="no Jupyter here: make test installs it")

NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), *sys.path]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()
    assert pictures(notebook) >= 3


def test_the_notebook_is_published_with_its_figures():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert pictures(notebook) >= 3
    assert all(output.output_type != "error" for cell in code_cells(notebook) for output in cell.outputs)


def test_the_notebook_links_to_pages_that_exist():
    text = "".join(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "markdown")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert links
    assert all((NOTEBOOK.parent / link).is_file() for link in links)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs)
