"""The maths sets: their published schemas, prompts, cleaning, filters, and the messages when they cannot be loaded."""

import json

import pytest
from datasets import Dataset
from shared_data import FOLDER, needs_data
from slices import BENCHMARKS, SLICES, write_training_sets

from sfpo.errors import UsageError
from sfpo.tasks import load_task
from sfpo.tasks.catalog import SETS, TASKS
from sfpo.tasks.schemas import last_boxed
from sfpo.tasks.task import is_held_out
from sfpo.tasks.templates import TEMPLATES, as_prompt, bare_problem

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
DAPO_HEAD, DAPO_TAIL = TEMPLATES["dapo"]


def load(name, file, **options):
    return load_task(
        name,
        data_path=",".join(str(FOLDER / "train" / one) for one in file.split(",")),
        benchmark_data_path=str(FOLDER / "bench"),
        **options,
    )


def everything(task):
    return [*task.train, *task.held_out]


@needs_data
@pytest.mark.parametrize(
    ("name", "file", "note", "count"),
    [
        (
            "dapo-math-17k",
            "dapo_math_17k_svs.parquet",
            "16,059 of 17,917 rows kept; dropped 1,771 repeats, 54 rows of 25 problems with conflicting answers, "
            "33 benchmark problems (amc 15, math500 8, olympiadbench 10)",
            16_059,
        ),
        (
            "dapo-math-17k",
            "dapo_math_17k_hubschema_2000.jsonl",
            "1,966 of 2,000 rows kept; dropped 30 repeats, 2 rows of 1 problem with conflicting answers, "
            "2 benchmark problems (olympiadbench 2)",
            1_966,
        ),
        (
            "dapo-math-17k",
            "dapo_math_17k_hubschema_2000.parquet",
            "1,966 of 2,000 rows kept; dropped 30 repeats, 2 rows of 1 problem with conflicting answers, "
            "2 benchmark problems (olympiadbench 2)",
            1_966,
        ),
        (
            "math",
            "math_train.jsonl",
            "7,464 of 7,466 rows kept; dropped 2 benchmark problems (olympiadbench 2)",
            7_464,
        ),
        ("gsm8k", "gsm8k_train.jsonl", "7,473 of 7,473 rows kept; dropped none", 7_473),
        (
            "skywork-or1",
            "skywork_or1_math_FIXTURE_1000.jsonl",
            "999 of 1,000 rows kept; dropped 1 benchmark problem (math500 1)",
            999,
        ),
        (
            "skywork-or1",
            "skywork_or1_math_FIXTURE_1000.parquet",
            "999 of 1,000 rows kept; dropped 1 benchmark problem (math500 1)",
            999,
        ),
        (
            "skywork-or1",
            "skywork_or1_eval_real.jsonl",
            "21 of 60 rows kept; dropped 39 benchmark problems (aime24 25, aime25 14)",
            21,
        ),
    ],
)
def test_local_copies_in_the_published_schemas(name, file, note, count):
    task = load(name, file, eval_problems=100_000)
    assert task.note == f"{name}: {note}"
    rows = everything(task)
    assert len(rows) == count
    assert len({row["prompt"] for row in rows}) == count
    assert all(row["answer"].strip() for row in rows)
    assert len(task.held_out) == pytest.approx(count / 8, rel=0.25)


@pytest.mark.parametrize(("name", "rows"), [("math", 200), ("gsm8k", 100)])
def test_slices_of_the_sets_that_may_be_copied(name, rows):
    path = SLICES / "train" / f"{name}_train.jsonl"
    task = load_task(name, data_path=str(path), benchmark_data_path=str(BENCHMARKS), eval_problems=1000)
    assert task.note.startswith(f"{name}: {rows} of {rows} rows kept; dropped none")
    written = {json.loads(line)["problem"] for line in path.read_text().splitlines()}
    assert {bare_problem(row["prompt"]) for row in everything(task)} == {problem.strip() for problem in written}


def test_a_benchmark_problem_in_a_slice_is_dropped(tmp_path):
    path = tmp_path / "math.jsonl"
    path.write_text((SLICES / "train" / "math_train.jsonl").read_text() + (BENCHMARKS / "math500.jsonl").read_text())
    task = load_task("math", data_path=str(path), benchmark_data_path=str(BENCHMARKS), eval_problems=1000)
    assert task.note.startswith("math: 200 of 216 rows kept; dropped 16 benchmark problems (math500 16)")


@pytest.mark.parametrize("name", ["dapo+math", "skywork-or1"])
def test_slices_in_the_schemas_of_the_hub(tmp_path, name):
    task = load_task(
        name, data_path=write_training_sets(tmp_path)[name], benchmark_data_path=str(BENCHMARKS), eval_problems=1000
    )
    assert len(everything(task)) == 200
    assert "200 of 200 rows kept" in task.note


@needs_data
def test_the_paper_s_training_set_is_both_sets_without_the_repeats_between_them():
    task = load("dapo+math", "dapo_math_17k_svs.parquet,math_train.jsonl", eval_problems=100_000)
    assert task.note.startswith("dapo+math: 21,788 of 25,383 rows kept")
    assert len(everything(task)) == 21_788
    with pytest.raises(UsageError, match="made of dapo-math-17k-cleaned, math: give 2 files"):
        load("dapo+math", "math_train.jsonl")
    with pytest.raises(UsageError, match="made of math: give one file"):
        load("math", "math_train.jsonl,math_train.jsonl")


@needs_data
def test_each_template_and_the_shipped_one():
    file = "dapo_math_17k_hubschema_2000.parquet"
    prompts = {
        name: load("dapo-math-17k", file, prompt_template=name).train["prompt"] for name in ("auto", *TEMPLATES)
    }
    assert prompts["auto"] == prompts["dapo"]
    assert all(prompt.startswith(DAPO_HEAD) and prompt.endswith(DAPO_TAIL) for prompt in prompts["dapo"])
    assert all(prompt.endswith("\n" + BOXED) and DAPO_TAIL not in prompt for prompt in prompts["boxed"])
    for boxed, plain in zip(prompts["boxed"], prompts["plain"], strict=True):
        assert boxed == f"{plain}\n{BOXED}"
    # A set that ships bare problems gets the boxed instruction.
    assert load("math", "math_train.jsonl").train[0]["prompt"].endswith("\n" + BOXED)


def test_templates_undo_each_other():
    for name in TEMPLATES:
        assert bare_problem(as_prompt("What is $1+1$?", name)) == "What is $1+1$?"
    assert bare_problem("What? Let's think step by step and output the final answer within \\boxed{}.") == "What?"
    assert as_prompt("What?", "auto", shipped="Say: What?") == "Say: What?"
    assert as_prompt("What?", "auto", shipped="What?") == f"What?\n{BOXED}"


def conversation(problem, answer, **extra):
    return {
        "data_source": "math_dapo", "prompt": [{"content": problem, "role": "user"}], "ability": "MATH",
        "reward_model": {"ground_truth": answer, "style": "rule"}, "extra_info": {"index": "0", **extra},
    }  # fmt: skip


# Rows as the hub publishes them, with the problem number in place of {}.
PUBLISHED = {
    "dapo-math-17k": (conversation(f"{DAPO_HEAD}P {{}}{DAPO_TAIL}", "34"), "34"),
    "dapo-math-17k-cleaned": ({"prompt": "P {}", "target": "34"}, "34"),
    "math": (
        {"problem": "P {}", "level": "Level 5", "type": "Algebra",
         "solution": "It is \\boxed{1}, or rather $\\boxed{\\frac{\\{1\\}}{2}}$."},
        "\\frac{\\{1\\}}{2}",
    ),
    "skywork-or1": (conversation("P {}", '["\\\\frac{1}{2}"]', model_difficulty={"R1-7B": 3, "R1-32B": 0}), "\\frac{1}{2}"),
    "gsm8k": ({"question": "P {}", "answer": "He has <<1+1=2>>2.\n#### 1,234"}, "1234"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*PUBLISHED, "dapo+math"])
def test_the_hub_s_own_columns(monkeypatch, name):
    asked = []
    published = {hub.repository: PUBLISHED[part] for part, hub in SETS.items()}

    def fake(repository, configuration=None, split=None):
        asked.append((repository, configuration, split))
        if repository not in published:
            raise ConnectionError("no connection")
        text = json.dumps(published[repository][0])
        return Dataset.from_list([json.loads(text.replace("P {}", f"P {n}")) for n in range(100)])

    monkeypatch.setattr("sfpo.tasks.sources.load_dataset", fake)
    task = load_task(name, prompt_template="plain", clean=False)
    hubs = [SETS[part] for part in TASKS[name]]
    assert asked == [(hub.repository, hub.configuration, hub.split) for hub in hubs]
    rows = everything(task)
    assert {row["prompt"] for row in rows} == {f"P {n}" for n in range(100)}
    assert {row["answer"] for row in rows} == {PUBLISHED[part][1] for part in TASKS[name]}
    assert task.reward(completions=[f"So \\boxed{{{rows[0]['answer']}}}."], answer=[rows[0]["answer"]]) == [1.0]


@pytest.mark.parametrize("name", TASKS)
def test_no_connection_says_to_give_a_local_copy(name):
    with pytest.raises(
        UsageError, match=r"cannot load .* from the hub .*: give a local copy with --data_path "
    ) as error:
        load_task(name)
    assert "\n" not in str(error.value)


def test_last_boxed():
    assert last_boxed("a \\boxed{1} b \\boxed{\\text{x}^{2}} c") == "\\text{x}^{2}"
    assert last_boxed("so $\\boxed{\\left\\{1, 2\\right\\}}$") == "\\left\\{1, 2\\right\\}"
    assert last_boxed("so $\\boxed 2$.") == "2"
    assert last_boxed("no box") == ""
    assert last_boxed("\\boxed{never closed") == ""


@pytest.fixture
def own(tmp_path):
    """A file with each defect once, among a hundred good rows."""
    good = [{"problem": f"What is ${n}+1$?", "answer": str(n + 1), "level": 1 + n % 5} for n in range(100)]
    defects = [
        {"problem": "what is 3 + 1 ?", "answer": "4"},  # a repeat in other layout
        {"problem": "What is one half?", "answer": "\\frac{1}{2}"},
        {"problem": "What is one half", "answer": "0.5"},  # the same answer in other writing: a repeat too
        {"problem": "How many?", "answer": "5"},
        {"problem": "How many?", "answer": "6"},  # conflicting
        {"problem": "How many ?", "answer": "5"},
        {"problem": "What is 2 to the 10th?", "answer": "1024"},  # a benchmark problem
        {"problem": "What is nothing by nothing?", "answer": "\\frac{0}{0}"},  # equals nothing, not even itself
        {"problem": "What?", "answer": ""},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"level": 1} | row) for row in good + defects))
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "aime25.jsonl").write_text('{"problem": "What is $2$ to the $10$th?", "answer": "1024"}')
    return path


def test_what_is_dropped_and_the_line_that_says_so(own):
    task = load_task("math", data_path=str(own), benchmark_data_path=str(own.parent / "bench"))
    prompts = {bare_problem(row["prompt"]) for row in everything(task)}
    assert prompts == {f"What is ${n}+1$?" for n in range(100)} | {"What is one half?"}
    assert task.note == (
        "math: 101 of 109 rows kept; dropped 1 row without a problem or an answer, 2 repeats, 3 rows of 1 problem with "
        "conflicting answers, 1 benchmark problem (aime25 1), 1 answer that cannot be graded (row 108); not compared "
        "with math500, aime24, amc, minerva, olympiadbench, amc23, gsm8k, which cannot be reached (give local copies "
        "with --benchmark_data_path)"
    )


def test_different_problems_do_not_contradict_each_other(tmp_path):
    pairs = [
        ("Compute $(2+3)\\cdot 4$.", "20", "Compute $2+(3\\cdot 4)$.", "14"),
        ("Solve $\\sqrt{x+1}=3$.", "8", "Solve $\\sqrt{x}+1=3$.", "4"),
        ("How long is $[1,5]$?", "4", "How long is $(1,5)$?", "4"),
        ("Find $5!$", "120", "Find $5$", "5"),
        ("Find $\\frac{1}{23}$.", "\\frac{1}{23}", "Find $\\frac{12}{3}$.", "4"),
    ]
    problems = {"problem": [row[0] for row in pairs] + [row[2] for row in pairs],
                "answer": [row[1] for row in pairs] + [row[3] for row in pairs]}  # fmt: skip
    path = tmp_path / "own.jsonl"
    rows = [{"problem": p, "answer": a} for p, a in zip(*problems.values(), strict=True)]
    rows += [{"problem": f"What is {n}?", "answer": "1"} for n in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = load_task("math", data_path=str(path), benchmark_data_path=str(tmp_path))
    assert task.note.startswith("math: 70 of 70 rows kept; dropped none")


def test_cleaning_can_be_switched_off(own):
    task = load_task("math", data_path=str(own), clean=False)
    assert len(everything(task)) == 109
    assert task.note == ""


def test_a_file_of_one_s_own_is_cleaned_without_the_hub(own):
    rows = [json.loads(line) for line in own.read_text().splitlines()][:-1]
    own.write_text("\n".join(map(json.dumps, rows)))
    options = {"data_path": str(own), "prompt_column": "problem"}
    task = load_task("file", **options)
    assert "102 of 108 rows kept; dropped 2 repeats, 3 rows of 1 problem" in task.note
    assert "not compared" not in task.note
    assert "What is $3+1$?" in {row["prompt"] for row in everything(task)}
    boxed = load_task("file", **options, prompt_template="boxed")
    assert all(row["prompt"].endswith(BOXED) for row in everything(boxed))
    compared = load_task("file", **options, benchmark_data_path=str(own.parent / "bench"))
    assert "1 benchmark problem (aime25 1)" in compared.note


def test_held_out_problems_do_not_depend_on_the_template(own):
    parts = [
        {bare_problem(p) for p in load_task("math", data_path=str(own), prompt_template=t).held_out["prompt"]}
        for t in ("boxed", "dapo")
    ]
    assert parts[0] == parts[1] != set()
    assert all(is_held_out(problem) for problem in parts[0])


def test_difficulty_by_level(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [{"problem": f"What is {n}?", "answer": "1", "level": f"Level {1 + n % 5}"} for n in range(500)]
    path.write_text("\n".join(map(json.dumps, rows)))

    def levels(difficulty):
        task = load_task("math", data_path=str(path), difficulty=difficulty, prompt_template="plain", clean=False)
        return {1 + int(row["prompt"].split()[-1].rstrip("?")) % 5 for row in everything(task)}

    assert levels("level:2-3") == {2, 3}
    assert levels("level:5-5") == {5}
    for wrong, message in (
        ("level", "write --difficulty SCALE:LOW-HIGH"),
        ("grade:1-2", "has no difficulty scale 'grade': it has level"),
    ):
        with pytest.raises(UsageError, match=message):
            levels(wrong)


@needs_data
def test_difficulty_of_a_model():
    file = "skywork_or1_math_FIXTURE_1000.jsonl"
    rated = [json.loads(line)["extra_info"]["model_difficulty"] for line in (FOLDER / "train" / file).open()]
    expected = sum(1 <= row["DeepSeek-R1-Distill-Qwen-7B"] <= 15 for row in rated)
    assert 0 < expected < 1000
    task = load("skywork-or1", file, difficulty="7B:1-15", clean=False, eval_problems=1000)
    assert len(everything(task)) == expected
    with pytest.raises(UsageError, match="matches several of"):
        load("skywork-or1", file, difficulty="B:1-15")
    with pytest.raises(UsageError, match="its problems are not rated"):
        load("gsm8k", "gsm8k_train.jsonl", difficulty="7B:1-15")


def test_unknown_columns_and_templates(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\n1+1,2\n")
    with pytest.raises(UsageError, match=r"own\.csv has the columns label, text: it needs"):
        load_task("math", data_path=str(path))
    with pytest.raises(UsageError, match="unknown prompt template 'cot': choose among auto, boxed, dapo, plain"):
        load_task("math", data_path=str(path), prompt_template="cot")
