"""Broken files, which one line names together with the row, and file names that look like patterns."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.markup import escape

from sfpo.errors import UsageError
from sfpo.tasks import load_task
from sfpo.tasks.benchmarks import load_benchmark

ROWS = [{"prompt": f"{n}?", "answer": str(n)} for n in range(60)]
LINES = [json.dumps(row).encode() for row in ROWS]


def message(path, name="file", **options):
    with pytest.raises(UsageError) as error:
        load_task(name, data_path=str(path), clean=False, **options)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"prompt": "caf\xe9", "answer": "1"}', "row 4 of {} is not UTF-8 text"),
        (b'{"prompt": "x", "answer": "\xff"}', "row 4 of {} is not UTF-8 text"),
        (b'{"prompt": "x", "answer": "1", "note": "\xc3"}', "row 4 of {} is not UTF-8 text"),
        (b"\x80\x81", "row 4 of {} is not UTF-8 text"),
        (b'{"prompt": "x", "answer": 1', "{} cannot be read as jsonl: row 4: "),
        (b'{"prompt": "x, "answer": "1"}', "{} cannot be read as jsonl: row 4: "),
        (b"{'prompt': 'x', 'answer': '1'}", "{} cannot be read as jsonl: row 4: "),
        (b'{"prompt": "x", "answer": 007}', "{} cannot be read as jsonl: row 4: "),
        (b'{"prompt": "x", "answer": "1"},', "{} cannot be read as jsonl: row 5: "),
        (b'"x"', "{} cannot be read as jsonl: row 4 is not an object of columns"),
        (b"12", "{} cannot be read as jsonl: row 4 is not an object of columns"),
        (b"null", "{} cannot be read as jsonl: row 4 is not an object of columns"),
        (b'["x", "1"]', "{} cannot be read as jsonl: row 4 is not an object of columns"),
        (b'[{"prompt": "x", "answer": "1"}]', "{} cannot be read as jsonl: row 4 is not an object of columns"),
        (b"[" * 200_000, "{} cannot be read as jsonl: row 4: it is nested too deep"),
        (b'{"prompt": "x"}', "row 4 of {} has an empty answer"),
        (b"{}", "row 4 of {} has an empty prompt"),
    ],
)
def test_jsonl(tmp_path, line, expected):
    path = tmp_path / "own.jsonl"
    path.write_bytes(b"\n".join([*LINES[:3], line, *LINES[3:]]))
    assert message(path).startswith(expected.format(path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "{} is empty"),
        (b"\n \n", "{} has no rows"),
        (b"\xef\xbb\xbf", "{} has no rows"),
        (b"[]", "{} has no rows"),
        (json.dumps(ROWS).encode("utf-16"), "row 1 of {} is not UTF-8 text"),
        (json.dumps(ROWS).encode("utf-16-le"), "{} cannot be read as json: row 1: "),
        (b"PK\x03\x04\x14\x00", "{} cannot be read as json: row 1: "),
        (json.dumps(ROWS).encode()[:-1], "{} cannot be read as json: row 61: "),
        (json.dumps(ROWS).encode()[:-5], "{} cannot be read as json: row 60: "),
        (b'[{"prompt": "x", "answer": 1},]', "{} cannot be read as json: row 2: "),
        (b'[{"prompt": "x", "answer": 1}, ', "{} cannot be read as json: row 2: "),
        (b'[{"prompt": "x", "answer": 1}] [2]', "{} cannot be read as json: row 2: "),
        (json.dumps({"rows": ROWS}).encode(), "{} has no column 'prompt': choose --prompt_column among rows"),
        (json.dumps({str(n): row for n, row in enumerate(ROWS)}).encode(), "{} has no column 'prompt'"),
        (json.dumps([*ROWS[:2], "x"]).encode(), "{} cannot be read as json: row 3 is not an object of columns"),
        (json.dumps(ROWS).encode().replace(b'"4?"', b'"\xe94?"'), "row 5 of {} is not UTF-8 text"),
        (b"true", "{} cannot be read as json: row 1 is not an object of columns"),
    ],
)
def test_json(tmp_path, content, expected):
    path = tmp_path / "own.json"
    path.write_bytes(content)
    assert message(path).startswith(expected.format(path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "{} is empty"),
        (b"\n\n", "{} has no rows"),
        (b"prompt,answer\n", "{} has no rows"),
        (b"prompt;answer\nx;1\n", "{} has no column 'prompt': choose --prompt_column among prompt;answer"),
        (b"prompt,label\nx,1\n", "{} has no column 'answer': choose --answer_column among prompt, label"),
        (b"prompt,answer\nx,1\ncaf\xe9,1\n", "row 2 of {} is not UTF-8 text"),
        (b"prompt,answ\xe9r\nx,1\n", "row 0 of {} is not UTF-8 text"),
        (b"prompt,answer\nx,1\ny,1,2\n", "{} cannot be read as csv: row 2 has 3 cells for 2 columns"),
        (b"prompt,answer\nx,1\ny\n", "row 2 of {} has an empty answer"),
        (b'prompt,answer\nx,1\n"y,1\nz,2\n', "{} cannot be read as csv: row 2 ends at line 4: "),
        (b'prompt,answer\nx,1\n"y" "z",1\n', "{} cannot be read as csv: row 2 "),
        (b"prompt,answer,answer\nx,1,2\n", "{} cannot be read as csv: it has two columns 'answer'"),
        (b"\xff\xfep\x00r\x00", "row 0 of {} is not UTF-8 text"),
    ],
)
def test_csv(tmp_path, content, expected):
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    assert message(path).startswith(expected.format(path).replace("row 0", "the first row"))


def test_a_csv_cell_may_be_long_and_a_row_end_in_empty_cells(tmp_path):
    path = tmp_path / "own.csv"
    rows = "".join(f"{n}?{'x' * 200_000 * (n == 3)},{n},,\n" for n in range(60))
    path.write_text(f"prompt,answer\n{rows}")
    task = load_task("file", data_path=str(path), clean=False)
    assert len(task.train) + len(task.held_out) == 60


def broken_parquet(path, kind):
    table = pa.Table.from_pylist(ROWS)
    if kind == "no rows":
        table = table.slice(0, 0)
    if kind == "not UTF-8":
        answers = [row["answer"].encode() for row in ROWS]
        answers[6] = b"\xe9"
        table = table.set_column(1, "answer", pa.array(answers).view(pa.string()))
    if kind == "bytes that are not UTF-8":
        table = table.set_column(1, "answer", pa.array([b"1"] * 6 + [b"\xe9"] + [b"1"] * 53))
    if kind == "twice the same column":
        table = pa.table([table["prompt"], table["answer"], table["answer"]], names=["prompt", "answer", "answer"])
    pq.write_table(table, path)
    whole = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    if kind == "no parquet":
        path.write_bytes(b"\n".join(LINES))
    if kind == "overwritten pages":
        path.write_bytes(whole[:4] + b"\x99" * 400 + whole[404:])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("truncated", "{} cannot be read as parquet: "),
        ("no parquet", "{} cannot be read as parquet: "),
        ("overwritten pages", "{} cannot be read as parquet: after row 0: "),
        ("no rows", "{} has no rows"),
        ("not UTF-8", "row 7 of {} is not UTF-8 text"),
        ("bytes that are not UTF-8", "row 7 of {} has half a character (not UTF-8 text) in 'answer'"),
        ("twice the same column", "{} cannot be read as parquet: it has two columns 'answer'"),
    ],
)
def test_parquet(tmp_path, kind, expected):
    path = tmp_path / "own.parquet"
    broken_parquet(path, kind)
    assert message(path).startswith(expected.format(path))


def test_every_task_says_it_in_a_line(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'{"problem": "x", "answer": "1"}\n{"problem": "\xe9", "answer": "1"}\n')
    assert "row 2" in message(path, "math")
    with pytest.raises(UsageError, match=r"^row 2 of .*own\.jsonl is not UTF-8"):
        load_benchmark(str(path))
    path.write_bytes(b'{"problem": "x", "answer": "1"}\n{"problem": ["y"], "answer": "1"}\n')
    assert message(path, "math").startswith(f"row 2 of {path} has a list of 1 in 'problem'")


NAMES = [
    "p[1].jsonl",
    "q*.jsonl",
    "q?.jsonl",
    "u[bold]x.jsonl",
    "{a}.jsonl",
    "a,b.jsonl",
    "a b#%.jsonl",
    "é[!x].jsonl",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_names_one_file(tmp_path, name):
    for other in ("p1.jsonl", "q1.jsonl", "q12.jsonl", "ubx.jsonl", "a.jsonl", "b.jsonl"):
        (tmp_path / other).write_text('{"prompt": "wrong", "problem": "wrong", "answer": "0"}')
    assert str(tmp_path / name) in message(tmp_path / name)
    (tmp_path / name).write_text("\n".join(json.dumps({"prompt": f"{n}?", "answer": str(n)}) for n in range(60)))
    task = load_task("file", data_path=str(tmp_path / name))
    assert len(task.train) + len(task.held_out) == 60
    assert task.name == name.removesuffix(".jsonl")
    console = Console(width=200)
    with console.capture() as printed:
        console.print(escape(task.note))
    assert task.note in printed.get()
    (tmp_path / name).write_text("\n".join(json.dumps({"problem": f"{n}?", "answer": str(n)}) for n in range(60)))
    task = load_task(
        "math", data_path=str(tmp_path / name), benchmark_data_path=str(tmp_path), prompt_template="plain"
    )
    assert len(task.train) + len(task.held_out) == 60
    assert len(load_benchmark(str(tmp_path / name)).problems) == 60


def test_two_files_with_a_comma(tmp_path):
    rows = {"a[1].jsonl": {"prompt": "a{}", "target": "1"}, "b*.jsonl": {"problem": "b{}", "solution": "\\boxed{1}"}}
    for name, row in rows.items():
        lines = (json.dumps(row).replace("{}", str(n)) for n in range(60))
        (tmp_path / name).write_text("\n".join(lines))
    path = ",".join(str(tmp_path / name) for name in rows)
    task = load_task("dapo+math", data_path=path, clean=False, prompt_template="plain")
    assert len(task.train) + len(task.held_out) == 120
