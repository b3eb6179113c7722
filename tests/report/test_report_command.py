"""`sfpo report` as a user types it."""

import shutil
import subprocess
import sys

import pytest
from PIL import Image
from report_folders import HOSTILE, write_run

from sfpo.cli import main
from sfpo.report.page import write_report


def report(capsys, *arguments):
    code = main(["report", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_page_is_written_into_the_folder_or_where_it_is_wanted(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    code, out, _ = report(capsys, folder)
    assert code == 0
    assert str(folder / "report.html") in out
    assert (folder / "report.html").stat().st_size < 1_000_000
    code, _, _ = report(capsys, folder, "--output", tmp_path / "other.html")
    assert code == 0
    assert (tmp_path / "other.html").read_text() == (folder / "report.html").read_text()
    assert write_report(folder) == folder / "report.html"


def test_what_cannot_be_reported_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    folder = write_run(tmp_path / "run")
    for arguments, said in (
        ([], "required: folder (see sfpo report --help)"),
        ([tmp_path / "missing"], "is not a folder"),
        ([tmp_path / "empty"], "holds neither a run (metrics.jsonl) nor a comparison (comparison.json)"),
        ([folder, "--output", tmp_path], "cannot write"),
        ([folder, "--output", tmp_path / "missing" / "page.html"], "cannot write"),
    ):
        code, _, err = report(capsys, *arguments)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_figures_for_papers(tmp_path, capsys, comparison, kind):
    folder = comparison if kind == "comparison" else write_run(tmp_path / "run", text=HOSTILE)
    if kind == "comparison":  # a name that is no formula
        path = folder / "comparison.json"
        path.write_text(path.read_text().replace("sfpo,alpha=0.1", "sfpo,$x^$"))
        shutil.move(folder / "runs" / "sfpo,alpha=0.1", folder / "runs" / "sfpo,$x^$")
    code, out, err = report(capsys, folder, "--png")
    assert code == 0, err
    assert str(folder / "figures") in out
    names = {path.stem for path in (folder / "figures").iterdir()}
    common = {
        "accuracy_by_rollouts",
        "accuracy_by_seconds",
        "reward",
        "length",
        "grad_norm",
        "time",
        "entropy",
        "alpha",
    }
    common |= {"pass_kl", "pass_ratio_mean", "pass_ratio_max", "pass_clip_fraction"}
    assert names >= common | ({"z"} if kind == "run" else {"rollout_reduction", "time_reduction"})
    with Image.open(folder / "figures" / "accuracy_by_rollouts.png") as image:
        assert image.width == 1050
        assert len(image.convert("RGB").getcolors(maxcolors=2**20)) > 20


def test_it_needs_neither_torch_nor_transformers(tmp_path):
    folder = write_run(tmp_path / "run")
    script = (
        "import sys; from sfpo.cli import main; code = main(['report', sys.argv[1]]); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(folder)]).returncode == 0
