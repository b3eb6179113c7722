"""Every benchmark by its name: from local copies, from the hub, and from a user's own file."""

import json

import pytest
from datasets import Dataset
from shared_data import FOLDER, needs_data

from sfpo.errors import UsageError
from sfpo.tasks import benchmarks
from sfpo.tasks.benchmarks import benchmark_texts, load_benchmark
from sfpo.tasks.catalog import KNOWN, SIX, names_of
from sfpo.tasks.problem_text import normalised

SIZES = {
    "math500": 500, "aime24": 30, "aime25": 30, "amc": 83, "minerva": 272, "olympiadbench": 675, "amc23": 40,
    "gsm8k": 1319,
}  # fmt: skip


@needs_data
@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_local_copies_are_whole(name, size):
    benchmark = load_benchmark(name, str(FOLDER / "bench"))
    assert len(benchmark.problems) == benchmark.usual_size == size
    assert len({problem.id for problem in benchmark.problems}) == size
    assert all(problem.problem.strip() and problem.answer.strip() for problem in benchmark.problems)


# Rows as the hub publishes them.
PUBLISHED = {
    "math500": {
        "problem": "P",
        "solution": "S",
        "answer": "\\frac12",
        "subject": "Algebra",
        "level": 2,
        "unique_id": "u",
    },
    "aime24": {"id": 60, "problem": "P", "solution": "S", "answer": "\\frac12", "url": "", "year": "2024"},
    "aime25": {"problem": "P", "answer": "\\frac12", "id": "0"},
    "amc": {"id": 0, "problem": "P", "answer": 142.0, "url": ""},
    "minerva": {"question": "P", "answer": "\\frac12"},
    "olympiadbench": {"question": "P", "answer": "\\frac12"},
    "amc23": {"id": 0, "answer": "27.0", "question": "P", "url": ""},
    "gsm8k": {"question": "P", "answer": "He has <<1+1=2>>2.\n#### 1,234"},
}


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_the_hub_s_own_columns(monkeypatch, name, row):
    asked = []

    def fake(repository, configuration=None, split=None):
        asked.append((repository, configuration, split))
        return Dataset.from_list([row])

    monkeypatch.setattr("sfpo.tasks.sources.load_dataset", fake)
    (problem,) = load_benchmark(name).problems
    assert problem.problem == "P"
    assert problem.answer == {"amc": "142", "amc23": "27.0", "gsm8k": "1234"}.get(name, "\\frac12")
    hub = KNOWN[name].hub
    assert asked == [(hub.repository, hub.configuration, hub.split)]


def test_no_connection_names_the_file_to_give():
    with pytest.raises(UsageError, match=r"MATH-500 .*folder that holds math500.jsonl with --data_path") as error:
        load_benchmark("math500")
    assert "\n" not in str(error.value)


def test_a_folder_without_the_set_names_the_file_to_give(tmp_path):
    with pytest.raises(UsageError, match=r"holds no gsm8k_test.jsonl"):
        load_benchmark("gsm8k", str(tmp_path))


def test_names():
    assert names_of(["math500,aime24", "my/set.jsonl"]) == ["math500", "aime24", "my/set.jsonl"]
    assert names_of(["all"]) == list(KNOWN)
    assert names_of("amc,amc23") == ["amc", "amc23"]
    assert set(SIX) < set(KNOWN)
    with pytest.raises(
        UsageError, match=r"unknown benchmark 'maths500' \(did you mean math500\?\): choose among math500"
    ):
        names_of(["maths500"])
    with pytest.raises(UsageError, match="amc more than once"):
        names_of(["amc", "amc,aime24"])
    with pytest.raises(UsageError, match="names no benchmark"):
        names_of([","])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", "answer": " "}], "row 2 of .* has no answer"),
        ([{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", "answer": None}], "row 2 of .* has no answer"),
        ([{"problem": "", "answer": "2"}], "row 1 of .* has no problem"),
        ([{"text": "1+1?", "label": "2"}], "has the columns label, text"),
    ],
)
def test_a_file_that_cannot_be_graded(tmp_path, rows, message):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match=message):
        load_benchmark(str(path))


def test_ids_that_repeat_are_numbered_anew(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"id": 1, "question": f"{i}?", "answer": i}) for i in range(3)))
    assert [problem.id for problem in load_benchmark(str(path)).problems] == ["own-1", "own-2", "own-3"]


def test_an_unreachable_hub_is_asked_once(monkeypatch):
    asked = []
    original = benchmarks.read_hub
    monkeypatch.setattr(benchmarks, "read_hub", lambda hub, otherwise: asked.append(hub) or original(hub, otherwise))
    texts = benchmark_texts(None)
    assert texts.names == {}
    assert texts.missing == tuple(KNOWN)
    assert len(asked) == 1


def test_a_folder_with_some_benchmarks_tells_which_are_missing(tmp_path):
    (tmp_path / "amc.jsonl").write_text(json.dumps({"problem": "What is $1+1$?", "answer": "2"}))
    texts = benchmark_texts(str(tmp_path))
    assert texts.names == {normalised("what is 1 + 1"): "amc"}
    assert texts.missing == tuple(name for name in KNOWN if name != "amc")
    with pytest.raises(UsageError, match="there is no folder"):
        benchmark_texts(str(tmp_path / "nowhere"))
