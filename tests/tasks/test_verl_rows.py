"""Rows in verl's schema, in the variations that files have."""

import csv
import json

import pytest

from sfpo.errors import UsageError
from sfpo.tasks import load_task

DAPO = "dapo-math-17k"


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def rows_of(reward_model, **columns):
    return [
        {"prompt": [{"role": "user", "content": f"{n}?"}], "reward_model": reward_model} | columns for n in range(40)
    ]


def golds(path, **options):
    task = load_task(DAPO, data_path=path, clean=False, eval_problems=1000, **options)
    return {*task.train["answer"], *task.held_out["answer"]}


@pytest.mark.parametrize(
    ("reward_model", "gold"),
    [
        ({"ground_truth": "34", "style": "rule"}, "34"),
        ('{"ground_truth": "34", "style": "rule"}', "34"),
        ('{"ground_truth": 12345678901234567890123}', "12345678901234567890123"),
        ('{"ground_truth": 1e5}', "1e5"),
        ({"ground_truth": ["34"]}, "34"),
        ({"ground_truth": [34]}, "34"),
        ({"ground_truth": '["34"]'}, "34"),
        ({"ground_truth": '["\\\\frac{1}{2}", "0.5"]'}, "\\frac{1}{2}"),
        ({"ground_truth": "[1, 5]"}, "[1, 5]"),
        ({"ground_truth": "(1, 5)"}, "(1, 5)"),
        ({"ground_truth": True}, "true"),
    ],
)
def test_reward_models(tmp_path, reward_model, gold):
    assert golds(write(tmp_path / "own.jsonl", rows_of(reward_model))) == {gold}


def test_a_csv_of_json_texts(tmp_path):
    path = tmp_path / "own.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "reward_model", "extra_info"])
        for row in rows_of({"ground_truth": "34"}):
            writer.writerow([json.dumps(row["prompt"]), json.dumps(row["reward_model"]), "{'index': 0}"])
    assert golds(str(path)) == {"34"}


@pytest.mark.parametrize(
    ("reward_model", "message"),
    [
        ("34", "has what is neither an object nor JSON of one in 'reward_model'"),
        ("{'ground_truth': '34'}", "has what is neither an object nor JSON of one in 'reward_model'"),
        ('{"ground_truth": ', "has what is neither an object nor JSON of one in 'reward_model'"),
        ([{"ground_truth": "34"}], "has what is neither an object nor JSON of one in 'reward_model'"),
        ({"ground_truth": {"target": ["34"]}}, "has an object in 'reward_model'"),
        ({"ground_truth": ["3", "4"]}, "has 2 different answers in 'reward_model'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_row(tmp_path, reward_model, message):
    rows = rows_of({"ground_truth": "34"})
    rows[6]["reward_model"] = reward_model
    with pytest.raises(UsageError, match=rf"^row 7 of .*own\.jsonl {message}") as error:
        golds(write(tmp_path / "own.jsonl", rows))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("empty", [None, [], "", [{"role": "user", "content": None}]])
def test_a_column_that_is_empty_throughout_is_named(tmp_path, empty):
    path = write(tmp_path / "own.jsonl", rows_of({"ground_truth": "34"}, prompt=empty))
    with pytest.raises(UsageError, match=r"^no row of .*own\.jsonl has a problem in 'prompt'"):
        golds(path)
    for reward_model in (None, {}, {"ground_truth": None}, {"style": "rule"}, "", "{}"):
        path = write(tmp_path / "own.jsonl", rows_of(reward_model))
        with pytest.raises(UsageError, match=r"^no row of .*own\.jsonl has an answer in 'reward_model'"):
            golds(path)


def test_a_row_without_an_answer_is_dropped_and_counted(tmp_path):
    rows = rows_of({"ground_truth": "34"})
    rows[3]["reward_model"] = None
    task = load_task(DAPO, data_path=write(tmp_path / "own.jsonl", rows), benchmark_data_path=str(tmp_path))
    assert "39 of 40 rows kept; dropped 1 row without a problem or an answer" in task.note


def test_a_system_prompt_stays_one(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    rows = [row | {"prompt": [system, *row["prompt"]]} for row in rows_of({"ground_truth": "34"})]
    task = load_task(DAPO, data_path=write(tmp_path / "own.jsonl", rows), clean=False, prompt_template="plain")
    assert task.train[0]["prompt"][0] == system
    assert task.train[0]["prompt"][1]["content"].endswith("?")


def test_difficulty_from_json_text(tmp_path):
    rows = [
        row | {"extra_info": json.dumps({"model_difficulty": {"R1-7B": n % 4, "R1-32B": None}})}
        for n, row in enumerate(rows_of({"ground_truth": "34"}))
    ]
    task = load_task(DAPO, data_path=write(tmp_path / "own.jsonl", rows), clean=False, difficulty="7B:1-2")
    assert len(task.train) + len(task.held_out) == 20
