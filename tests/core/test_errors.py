"""One line for an error, whatever the user named a file."""

import pytest

from sfpo.cli import main
from sfpo.errors import one_line


def test_what_does_not_print_is_escaped_and_the_rest_is_kept():
    assert one_line("a\nb\r\tc\x1b[31m") == "a\\nb\\r\\tc\\x1b[31m"
    assert one_line("bytes \udcff that are no text") == "bytes \\udcff that are no text"
    assert one_line("α  ≤ 1: 'two  spaces'") == "α  ≤ 1: 'two  spaces'"


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "two\nlines"],
        ["grade", "two\nlines.jsonl"],
        ["plan", "--config", "two\nlines.yaml"],
        ["train", "--config", "two\nlines.yaml"],
        ["train", "--task", "file", "--data_path", "two\nlines.jsonl", "--dry_run"],
        ["train", "--model", "./two\nlines", "--dry_run"],
        ["eval", "--benchmarks", "./two\nlines.jsonl"],
        ["compare", "--output_dir", "a", "--methods", "two\nlines"],
        ["two\nlines"],
    ],
    ids=" ".join,
)
def test_a_name_with_a_line_break_leaves_the_error_one_line(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "two\\nlines" in error
