"""Rows survive that the process which adds them is killed."""

import json

import pytest

from sfpo.records.rows import append_rows, mend_rows, read_rows

ROWS = [{"step": n, "text": "ä\u2028\x85\n"} for n in range(3)]
WHOLE = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize(
    ("content", "kept", "torn"),
    [
        (WHOLE, ROWS, 0),
        (b"", [], 0),
        (WHOLE[:-1], ROWS, 0),  # a row is whole without the end of its line
        (WHOLE[:-2], ROWS[:2], 1),
        (WHOLE[:-20], ROWS[:2], 1),
        (WHOLE + b'{"step": 3, "text": "\xc3', ROWS, 1),  # in the middle of a character
        (WHOLE + b"\0\0\0\0", ROWS, 1),  # as after a power failure
        (WHOLE + b"\n\n", ROWS, 0),
        (b'{"step"' + WHOLE, ROWS[1:], 1),
        (WHOLE + b"3\n[]\nnull\n" + WHOLE, ROWS * 2, 3),
    ],
)
def test_torn_rows_are_dropped_and_counted(tmp_path, content, kept, torn):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    assert read_rows(path) == kept
    assert mend_rows(path) == (kept, torn)
    append_rows(path, [{"step": 9}])
    assert read_rows(path) == [*kept, {"step": 9}]
    assert mend_rows(path) == ([*kept, {"step": 9}], 0)
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]


def test_rows_of_another_shape_are_not_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"step": 1}\n{"step": "2"}\n{"step": true}\n{"stop": 3}\n{"step": 4, "more": null}\n')
    whole = [{"step": 1}, {"step": 4, "more": None}]
    assert read_rows(path, {"step": int}) == whole
    assert mend_rows(path, {"step": int}) == (whole, 3)
    assert read_rows(path) == whole


def test_without_a_file_there_are_no_rows(tmp_path):
    assert mend_rows(tmp_path / "rows.jsonl") == ([], 0)
    assert list(tmp_path.iterdir()) == []
