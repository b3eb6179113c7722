"""`sfpo doctor` as a user calls it."""

import json
import os
import subprocess
import sys

import pytest
from core_only import CORE_ONLY, EXTRAS

from sfpo.cli import main
from sfpo.doctor import command
from sfpo.doctor.finding import Finding

FOUND = {"provenance": {"machine": {"processor": "A CPU", "cores": 2, "memory_gib": None}}}


@pytest.fixture
def found(monkeypatch):
    """Have the checks find this."""

    def find(*findings):
        monkeypatch.setattr(command, "probe", lambda: FOUND)
        monkeypatch.setattr(command, "_all", lambda probed: iter(findings))

    return find


def test_each_finding_is_plain_lines_and_only_what_is_broken_counts(found, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found(
        Finding("works", "one " * 30),
        Finding("absent", "two", "pip install " + "x" * 90),
        Finding("doubtful", "three\nlines", "do"),
    )
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1:] == [
        "A CPU, 2 cores",
        "",
        "works     " + " ".join(["one"] * 17),
        "          " + " ".join(["one"] * 13),
        "absent    two",
        "          mend: pip install " + "x" * 90,
        "doubtful  three\\nlines",
        "          mend: do",
        "",
        "Nothing that is required is broken.",
    ]
    found(Finding("broken", "four", "mend it"))
    assert main(["doctor"]) == 1
    assert "1 broken" in capsys.readouterr().out


def test_json_is_a_record(found, capsys):
    found(Finding("broken", "four", "mend it"))
    assert main(["doctor", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["findings"] == [{"status": "broken", "what": "four", "mend": "mend it"}]
    assert record["provenance"] == [FOUND["provenance"]]


def test_an_unknown_option_is_one_line(capsys):
    assert main(["doctor", "--jsn"]) == 2
    assert "(did you mean --json?)" in capsys.readouterr().err


def doctor(tmp_path, code, *arguments, **environment):
    program = f"{code}\nimport sys\nfrom sfpo.cli import main\ncode = main(['doctor', *sys.argv[1:]])\n"
    program += "assert 'torch' not in sys.modules\nsys.exit(code)"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **environment},
    )  # fmt: skip


def test_it_runs_here_without_torch_in_its_own_process(tmp_path):
    done = doctor(tmp_path, "", "--json")
    assert done.stderr == ""
    findings = json.loads(done.stdout)["findings"]
    assert [one["what"] for one in findings if one["status"] == "works" and one["what"].startswith("torch ")]
    assert {one["what"] for one in findings} >= {"grading: a worker process judged a formula"}
    assert done.returncode == int(any(one["status"] == "broken" for one in findings))


def test_a_broken_torch_ends_with_1_and_the_rest_is_still_checked(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('undefined symbol: cublasLt')")
    done = doctor(tmp_path, "", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path[1:]]))
    assert done.returncode == 1
    assert "broken    torch fails: ImportError: undefined symbol: cublasLt" in done.stdout
    assert "can be written to" in done.stdout


def test_with_torch_alone_it_names_the_extra(tmp_path):
    done = doctor(tmp_path, CORE_ONLY.format(absent=(*EXTRAS, "packaging")))
    assert done.returncode == 0, done.stderr
    assert "absent    sfpo[trl], or a part of it" in done.stdout
    assert "mend: pip install 'sfpo[trl]'" in done.stdout
