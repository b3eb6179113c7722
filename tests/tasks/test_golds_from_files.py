"""A gold reaches the grader exactly as its file has it, whatever the format and the other values of its column."""

import csv
import datetime
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfpo.errors import UsageError
from sfpo.tasks import load_task
from sfpo.tasks.benchmarks import load_benchmark


def answers(path, name="file", **options):
    """The golds of a file in the order of their problems, which the fixtures number."""
    task = load_task(name, data_path=str(path), clean=False, eval_problems=1000, prompt_template="plain", **options)
    rows = {row["prompt"]: row["answer"] for row in [*task.train, *task.held_out]}
    return [rows[f"P {n}"] for n in range(len(rows))]


# JSON literals, with the text that each is.
LITERALS = {
    "123456789012345678901234567890": "123456789012345678901234567890",
    "9007199254740993": "9007199254740993",
    "0.1": "0.1",
    "3.14159265358979323846264338327950288": "3.14159265358979323846264338327950288",
    "142.0": "142.0",
    "1e5": "1e5",
    "1E-7": "1E-7",
    "-0": "-0",
    "1e400": "1e400",
    "0.50": "0.50",
    "true": "true",
    "false": "false",
    "Infinity": "Infinity",
    '"2024-01-01"': "2024-01-01",
    '"2024-01-01T00:00:00"': "2024-01-01T00:00:00",
    '"12:30"': "12:30",
    '"007"': "007",
    '"1e5"': "1e5",
    '"1_000"': "1_000",
    '"True"': "True",
    '"None"': "None",
    '"NaN"': "NaN",
    '"null"': "null",
    '"N/A"': "N/A",
    '"(1,2)"': "(1,2)",
    '"[1, 5]"': "[1, 5]",
    '" 7 "': " 7 ",
    '"\\\\frac{1}{2}"': "\\frac{1}{2}",
    '["1/2"]': "1/2",
    "[5]": "5",
    '["0.5", "\\\\frac{1}{2}"]': "0.5",
}
BESIDE = {"alone": [], "an integer": ["3"], "a fraction": ["0.25"], "a text": ['"x"'], "a list": ['["3"]']}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_json(tmp_path, suffix, beside):
    path = tmp_path / f"own{suffix}"
    for literal, text in LITERALS.items():
        values = [literal] * 40 + BESIDE[beside]
        rows = [f'{{"prompt": "P {n}", "answer": {value}}}' for n, value in enumerate(values)]
        path.write_text(f"[{','.join(rows)}]" if suffix == ".json" else "\n".join(rows))
        assert set(answers(path)[:40]) == {text}


@pytest.mark.parametrize("form", ["lines", "array", "pretty", "columns", "bom"])
def test_json_however_it_is_laid_out(tmp_path, form):
    rows = [{"prompt": f"P {n}", "answer": n} for n in range(40)]
    text = {
        "lines": "\r\n\r\n".join(map(json.dumps, rows)),
        "array": json.dumps(rows, indent=1),
        "pretty": "\n".join(json.dumps(row, indent=1) for row in rows),
        "columns": json.dumps({key: [row[key] for row in rows] for key in rows[0]}),
        "bom": "\ufeff" + "\n".join(map(json.dumps, rows)),
    }[form]
    for suffix in (".json", ".jsonl"):
        path = tmp_path / f"own{suffix}"
        path.write_text(text, encoding="utf-8")
        assert answers(path) == [str(n) for n in range(40)]


def test_csv(tmp_path):
    texts = [
        "123456789012345678901234567890", "1", "0.1", "007", "1e5", "2024-01-01", "True", "NaN", "None", "NA", "1,234",
        "(1,2)", '"quoted"', "two\nlines", " 7", "12:30", "0x10", "1_000", "∞",
    ]  # fmt: skip
    texts += ["5"] * 30
    path = tmp_path / "own.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["", "prompt", "answer"])
        writer.writerows([n, f"P {n}", text] for n, text in enumerate(texts))
    assert answers(path) == texts


PARQUET = {
    "int64": (pa.array([2**63 - 1] * 40), str(2**63 - 1)),
    "uint64": (pa.array([2**64 - 1] * 40, pa.uint64()), str(2**64 - 1)),
    "decimal": (pa.array([Decimal("123456789012345678901234567890.10")] * 40), "123456789012345678901234567890.10"),
    "float64": (pa.array([0.1] * 40), "0.1"),
    "float64 of an integer": (pa.array([142.0] * 40), "142"),
    "float32": (pa.array([0.1] * 40, pa.float32()), "0.1"),
    "float16": (pa.array(np.full(40, 0.1, np.float16)), "0.1"),
    "list of float32": (pa.array([[0.3]] * 40, pa.list_(pa.float32())), "0.3"),
    "date": (pa.array([datetime.date(2024, 1, 1)] * 40), "2024-01-01"),
    "bool": (pa.array([True] * 40), "true"),
    "text": (pa.array(["007"] * 40), "007"),
    "category": (pa.array(["007"] * 40).dictionary_encode(), "007"),
    "bytes": (pa.array([b"7"] * 40), "7"),
    "list": (pa.array([["7"]] * 40), "7"),
}


@pytest.mark.parametrize("kind", PARQUET)
def test_parquet(tmp_path, kind):
    column, text = PARQUET[kind]
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table({"prompt": [f"P {n}" for n in range(40)], "answer": column}), path)
    assert set(answers(path)) == {text}


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        ("He has <<1+1=2>>2.\n#### 1,234", "1234"),
        ("#### $1,234,567.50", "$1234567.50"),
        ("#### -1,000 dollars", "-1000 dollars"),
        ("#### (1,2)", "(1,2)"),
        ("#### [1,234]", "[1,234]"),
        ("#### 1,2", "1,2"),
        ("#### 1, 234", "1, 234"),
        ("#### {1,2,3}", "{1,2,3}"),
        ("#### 12,34", "12,34"),
        ("#### 100,200,3", "100,200,3"),
        ("#### 1,234,56", "1,234,56"),
        ("#### 007", "007"),
        ("(1,234)", "(1,234)"),
    ],
)
def test_gsm8k(tmp_path, solution, gold):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"P {n}", "answer": solution}) for n in range(40)))
    assert set(answers(path, "gsm8k")) == {gold}


@pytest.mark.parametrize(("literal", "text"), list(LITERALS.items()))
def test_the_schemas_of_the_hub(tmp_path, literal, text):
    path = tmp_path / "own.jsonl"
    for row, name in (
        ('{"prompt": "P N", "target": GOLD}', "dapo-math-17k-cleaned"),
        ('{"prompt": [{"role": "user", "content": "P N"}], "reward_model": {"ground_truth": GOLD}}', "dapo-math-17k"),
        ('{"problem": "P N", "answer": GOLD, "level": 3}', "math"),
    ):
        rows = [row.replace("N", str(n), 1).replace("GOLD", literal) for n in range(40)]
        path.write_text("\n".join([*rows, row.replace("N", "40", 1).replace("GOLD", "0.5")]))
        assert set(answers(path, name)[:40]) == {text.strip()}
    path.write_text("\n".join(f'{{"id": {n}, "problem": "P", "answer": {literal}}}' for n in range(3)))
    assert [problem.answer for problem in load_benchmark(str(path)).problems] == [text.strip()] * 3


@pytest.mark.parametrize("literal", ["null", "NaN", '""', '" "', "[]", "[null]", '[""]'])
def test_a_missing_gold_is_missing(tmp_path, literal):
    path = tmp_path / "own.jsonl"
    rows = [f'{{"prompt": "P {n}", "answer": {literal if n == 3 else n}}}' for n in range(40)]
    path.write_text("\n".join(rows))
    with pytest.raises(UsageError, match=r"^row 4 of .*own\.jsonl has an empty answer"):
        answers(path)


@pytest.mark.parametrize(
    ("literal", "message"),
    [
        ('{"value": 1}', "has an object in 'answer'"),
        ('["1", "2"]', "has 2 different answers in 'answer'"),
        ("[[1, 2]]", "has a list of 2 in 'answer'"),
        ('"\\ud800"', "has half a character .* in 'answer'"),
    ],
)
def test_what_is_no_gold_is_refused_by_its_row(tmp_path, literal, message):
    path = tmp_path / "own.jsonl"
    rows = [f'{{"prompt": "P {n}", "answer": {literal if n == 3 else n}}}' for n in range(40)]
    path.write_text("\n".join(rows))
    with pytest.raises(UsageError, match=rf"^row 4 of .*own\.jsonl {message}"):
        answers(path)
