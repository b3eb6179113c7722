"""Prompts that are conversations: turns for the chat template, in every form that files have them in."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfpo.errors import UsageError
from sfpo.tasks import load_task
from sfpo.tasks.templates import TEMPLATES

BOXED = TEMPLATES["boxed"][1]
SYSTEM = {"role": "system", "content": "Be brief."}


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows[0])
            writer.writerows(
                [value if isinstance(value, str) else json.dumps(value) for value in row.values()] for row in rows
            )
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


def prompts(path, name="file", **options):
    task = load_task(name, data_path=str(path), eval_problems=1000, **{"clean": False} | options)
    return [*task.train["prompt"], *task.held_out["prompt"]]


FORMS = [".jsonl", ".csv", ".parquet", "JSON text in .jsonl", "JSON text in .parquet"]


@pytest.mark.parametrize("form", FORMS)
def test_turns_stay_turns(tmp_path, form):
    turns = [[SYSTEM, user("1+1?"), assistant("2"), user(f"And plus {n}?")] for n in range(40)]
    as_text = form.startswith("JSON text")
    rows = [{"prompt": json.dumps(turn) if as_text else turn, "answer": "1"} for turn in turns]
    path = write(tmp_path / f"own{form.split()[-1]}", rows)
    assert sorted(prompts(path), key=str) == sorted(turns, key=str)
    boxed = prompts(path, prompt_template="boxed")
    assert all(turn[:3] == turns[0][:3] and turn[3]["content"].endswith(f"?{BOXED}") for turn in boxed)


@pytest.mark.parametrize("form", FORMS)
def test_a_question_alone_is_a_text(tmp_path, form):
    as_text = form.startswith("JSON text")
    rows = []
    for n in range(40):
        turns = [user(f"What is {n}?")]
        rows.append({"prompt": json.dumps(turns) if as_text else turns, "answer": "1"})
    path = write(tmp_path / f"own{form.split()[-1]}", rows)
    assert set(prompts(path)) == {f"What is {n}?" for n in range(40)}
    assert set(prompts(path, prompt_template="boxed")) == {f"What is {n}?{BOXED}" for n in range(40)}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_content_in_parts(tmp_path, suffix):
    parts = [{"type": "text", "text": "What "}, {"type": "text", "text": "is it?"}]
    rows = [{"prompt": [{"role": "user", "content": parts}], "answer": "1"}] * 40
    rows += [
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": f"{n}?"}]}], "answer": "1"}
        for n in range(40)
    ]
    assert set(prompts(write(tmp_path / f"own{suffix}", rows))) == {"What is it?", *(f"{n}?" for n in range(40))}
    rows = [{"prompt": [{"type": "text", "text": f"{n}?"}], "answer": "1"} for n in range(40)]
    assert set(prompts(write(tmp_path / f"own{suffix}", rows))) == {f"{n}?" for n in range(40)}


def test_texts_and_conversations_in_one_file(tmp_path):
    rows = [{"prompt": f"{n}?", "answer": "1"} for n in range(40)]
    rows.append({"prompt": [SYSTEM, user("40?")], "answer": "1"})
    found = prompts(write(tmp_path / "own.jsonl", rows))
    assert [SYSTEM, user("40?")] in found
    assert [user("7?")] in found


@pytest.mark.parametrize(
    "text", ["[1, 5] is an interval?", "[1, 2, 3]", '["a"]', "{}", '[{"x": 1}]', "[ {x} ]", "null", "1"]
)
def test_a_text_with_brackets_is_a_text(tmp_path, text):
    rows = [{"prompt": text, "answer": "1"}, *({"prompt": f"{n}?", "answer": "1"} for n in range(40))]
    for suffix in (".jsonl", ".csv"):
        assert text in prompts(write(tmp_path / f"own{suffix}", rows))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([SYSTEM], "has a conversation that ends with system"),
        ([user("x"), assistant("y")], "has a conversation that ends with assistant"),
        ([{"from": "human", "value": "x"}], "has a part that is not text"),
        ([{"role": "human", "content": "x"}], "has a turn with the role human"),
        ([{"role": "user"}], "has a list that is no conversation"),
        ([user([{"type": "image", "url": "x"}])], "has a part that is not text"),
        ([user({"text": "x"})], "has an object"),
        ([user("x"), {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}, user("y")], "calls a tool"),
        (["x"], "has a list that is no conversation"),
        ({"role": "user", "content": "x"}, "has an object"),
        (str([user("don't")]), "has turns that are not JSON"),
        ('[{"role": "user", "content": "x"', "has turns that are not JSON"),
        ([], "has an empty prompt"),
        ([user("")], "has an empty prompt"),
        ([user(None)], "has an empty prompt"),
        ([SYSTEM, user(" ")], "has an empty prompt"),
    ],
)
def test_what_is_no_conversation_is_refused_by_its_row(tmp_path, prompt, message):
    rows = [{"prompt": "1?", "answer": "1"}, {"prompt": prompt, "answer": "1"}]
    path = write(tmp_path / "own.jsonl", rows)
    with pytest.raises(UsageError, match=rf"^row 2 of .*own\.jsonl .*{message}") as error:
        prompts(path)
    assert "\n" not in str(error.value)


def test_what_was_said_before_tells_problems_apart(tmp_path):
    rows = [
        {"prompt": [user(f"Let x be {n}."), assistant("Yes."), user("What is x+1?")], "answer": str(n + 1)}
        for n in range(60)
    ]
    task = load_task("file", data_path=str(write(tmp_path / "own.jsonl", rows)), eval_problems=1000)
    assert task.note.endswith("60 of 60 rows kept; dropped none")


def test_a_system_prompt_moves_no_problem_to_the_other_half(tmp_path):
    rows = [
        {"prompt": [{"role": "system", "content": f"Style {style}."}, user(f"{n}?")], "answer": "1"}
        for n in range(60)
        for style in range(3)
    ]
    task = load_task("file", data_path=str(write(tmp_path / "own.jsonl", rows)), eval_problems=1000)
    train, held_out = ({turns[-1]["content"] for turns in part["prompt"]} for part in (task.train, task.held_out))
    assert len(train) + len(held_out) == 60
    assert not train & held_out


@pytest.mark.parametrize("prompt", [[user("What is $2^{10}$?")], [SYSTEM, user("What is $2^{10}$ ?")]])
def test_a_benchmark_problem_in_a_conversation_is_dropped(tmp_path, prompt):
    rows = [{"prompt": prompt, "answer": "1024"}, *({"prompt": [user(f"{n}?")], "answer": "1"} for n in range(60))]
    (tmp_path / "bench").mkdir()
    write(tmp_path / "bench" / "aime25.jsonl", [{"problem": "What is $2^{10}$?", "answer": "1024"}])
    path = write(tmp_path / "own.jsonl", rows)
    task = load_task("file", data_path=str(path), benchmark_data_path=str(tmp_path / "bench"))
    assert "1 benchmark problem (aime25 1)" in task.note
