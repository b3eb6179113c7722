import json
from pathlib import Path

import pytest

from sfpo.cli import main


def sfpo(*arguments: str) -> int:
    return main(["grade", *arguments])


def test_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert sfpo("--gold", r"\frac12", "--response", r"\boxed{0.5}") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["correct"] is True
    assert verdict["status"] == "correct"
    assert verdict["seconds"] >= 0


def test_a_file_gives_one_verdict_a_line_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"gold": "1", "response": r"\boxed{1}", "correct": True},
        {"gold": "1", "response": r"\boxed{2}", "correct": False},
        {"gold": 3, "response": r"\boxed{3}", "correct": False},
        {"gold": "1", "response": "?", "correct": True},
        {"gold": "1", "response": r"\boxed{1}", "correct": False, "ambiguous": True},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    assert sfpo(str(path)) == 0
    captured = capsys.readouterr()
    verdicts = [json.loads(line) for line in captured.out.splitlines()]
    assert [verdict["status"] for verdict in verdicts] == ["correct", "wrong", "correct", "unparseable", "correct"]
    assert "2 of 4 right (50.00%), 1 false accepts, 1 false rejects, 1 rows left out" in captured.err


def test_no_summary_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"gold": "1", "response": "1"}\n')
    assert sfpo(str(path)) == 0
    assert capsys.readouterr().err == ""


def test_golds_are_the_text_that_the_file_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huge = "7" * 5_000
    lines = [
        r'{"gold": 123456789012345678901234567890, "response": "\\boxed{123456789012345678901234567890}", "correct": 1}',
        r'{"gold": 123456789012345678901234567890, "response": "\\boxed{123456789012345677877719597056}", "correct": 0}',
        r'{"gold": 0.10, "response": "\\boxed{0.1}", "correct": true}',
        rf'{{"gold": {huge}, "response": "\\boxed{{1}}", "correct": false}}',
        r'{"gold": 12, "response": 12, "correct": null}',
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8-sig")  # with the mark that some editors put first
    assert sfpo(str(path)) == 0
    captured = capsys.readouterr()
    verdicts = [json.loads(line)["correct"] for line in captured.out.splitlines()]
    assert verdicts == [True, False, True, False, True]
    assert "4 of 4 right" in captured.err
    assert "1 rows left out" in captured.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"gold": "1", "response": "1"}\n{oops\n', "line 2: not JSON"),
        ("[1]\n", "line 1: not a JSON object"),
        ('{"gold": "1"}\n', "line 1: no value for response"),
        ('{"answer": "1"}\n', "line 1: no value for gold and response"),
        ('{"gold": [1], "response": "1"}\n', "line 1: gold and response must be text"),
        ("\n", "has no rows"),
        ('{"gold": "1", "response": ' + "[" * 100_000, "line 1: nested too deep"),
        ('{"gold": true, "response": "1"}\n', "line 1: gold and response must be text"),
        ('{"gold": "1", "response": "1", "correct": "yes"}\n', "line 1: correct must be true or false, got yes"),
    ],
)
def test_bad_files_are_named_in_one_line(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    assert sfpo(str(path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.jsonl",), "cannot read missing.jsonl: No such file"),
        (("--gold", "1"), "both --gold and --response"),
        ((), "give a JSONL file"),
        (("missing.jsonl", "--gold", "1"), "not both"),
    ],
)
def test_bad_arguments_are_named_in_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sfpo(*arguments) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_option_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert sfpo("--nope") == 2
    assert capsys.readouterr().err == "sfpo grade: unrecognized arguments: --nope (see sfpo grade --help)\n"
