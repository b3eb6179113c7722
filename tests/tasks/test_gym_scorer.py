"""reasoning-gym's scorers in workers: their marks are those of the same scorer here, and no answer takes the trainer along."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import reasoning_gym
from grading_processes import children, ends

from sfpo.errors import UsageError
from sfpo.tasks import gym

# Numbers, words, grids and formulas as answers; more than JSON can hold in some of the entries.
TASKS = [
    "advanced_geometry", "arc_agi", "basic_arithmetic", "calendar_arithmetic", "chain_sum", "countdown",
    "family_relationships", "futoshiki", "intermediate_integration", "knights_knaves", "letter_counting", "mini_sudoku",
    "n_queens", "polynomial_multiplication", "puzzle24", "shortest_path", "simple_equations",
    "simple_integration", "time_intervals", "word_ladder", "zebra_puzzles",
]  # fmt: skip


def marks(task, rows, completions, **columns):
    return task.reward(
        prompts=[row["prompt"] for row in rows],
        completions=completions,
        answer=[row["answer"] for row in rows],
        entry=[row["entry"] for row in rows],
        **columns,
    )


@pytest.fixture(scope="module")
def countdown():
    return gym.load("countdown", [], train_problems=4, eval_problems=2, seed=0)


@pytest.mark.parametrize("name", TASKS)
def test_the_marks_are_those_of_the_scorer(name):
    task = gym.load(name, [], train_problems=3, eval_problems=3, seed=5)
    entries = gym._draw(name, {}, 5, 3, held_out=False, on_problem=lambda: None)
    scorer = reasoning_gym.create_dataset(name, seed=5, size=1)
    rows, completions, expected = [], [], []
    for row, entry, other in zip(task.train, entries, [*entries[1:], entries[0]], strict=True):
        gold = row["answer"]
        for text in (gold, other["answer"], gold[:-1], f"{gold} or so", "x + 1", "1/0", "((", "none"):
            answer = str(text).strip()
            rows.append(row)
            completions.append(f"<answer>{answer}</answer>")
            mark = float(scorer.score_answer(answer, entry))
            expected.append(0.0 if mark < 1.0 and gym._contains_digits(answer, gold.strip()) else mark)
    assert marks(task, rows, completions) == expected
    assert expected[0] == 1.0


@pytest.mark.parametrize("endless", ["7**10**9", "factorial(10**9)"])
def test_an_endless_answer_is_worth_nothing_and_the_others_what_they_were(countdown, endless):
    rows = list(countdown.train)
    logged = {}
    started = time.monotonic()
    completions = [rows[0]["answer"], endless, "1+1", rows[3]["answer"]]
    assert marks(countdown, rows, completions, log_metric=logged.__setitem__) == [1.0, 0.0, 0.05, 1.0]
    assert time.monotonic() - started < 60
    assert logged == {"grading/unparseable": 0.0, "grading/timeout": 0.25, "grading/error": 0.0}


def test_an_answer_that_ends_its_worker_is_worth_nothing_and_the_next_is_graded(countdown):
    rows = list(countdown.train)
    completions = ['__import__("os")._exit(0)', rows[1]["answer"], "", rows[3]["answer"]]
    assert marks(countdown, rows, completions) == [0.0, 1.0, 0.01, 1.0]


def test_an_answer_that_prints_or_takes_all_memory_is_a_wrong_one(countdown):
    rows = list(countdown.train)
    completions = ['print("{\\"id\\": 0}")', "[0]*10**10", rows[2]["answer"], "9!!!!"]
    assert marks(countdown, rows, completions) == [0.01, 0.01, 1.0, 0.01]


def _mark_in_child(task, row, queue):
    queue.put(marks(task, [row], [row["answer"]]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_workers_of_its_own(countdown):
    row = countdown.train[0]
    assert marks(countdown, [row], [row["answer"]]) == [1.0]
    before = children(os.getpid())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_mark_in_child, args=(countdown, row, queue))
    process.start()
    assert queue.get(timeout=60) == [1.0]
    process.join(30)
    assert process.exitcode == 0
    assert marks(countdown, [row], [row["answer"]]) == [1.0]
    assert set(before) <= set(children(os.getpid()))


TRAINER = """
import os, time
from grading_processes import children
from sfpo.tasks import gym

task = gym.load("countdown", [], 1, 1, 0)
before = set(children(os.getpid()))
row = task.train[0]
task.reward(completions=[row["answer"]] * 8, entry=[row["entry"]] * 8)
workers = [pid for pid in children(os.getpid()) if pid not in before]
print(*workers, *[child for pid in workers for child in children(pid)], flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["", "task.reward(completions=['7**10**9'], entry=[row['entry']])"])
def test_the_workers_end_with_the_trainer(end):
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER.format(end=end)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert trainer.stdout is not None
    workers = [int(pid) for pid in trainer.stdout.readline().split()]
    assert len(workers) >= 2
    if end:
        time.sleep(0.5)
        trainer.send_signal(signal.SIGKILL)
    assert trainer.wait(60) == (-signal.SIGKILL if end else 0)
    trainer.stdout.close()
    assert all(ends(pid) for pid in workers)


def test_a_task_that_nobody_holds_ends_its_workers():
    before = set(children(os.getpid()))
    task = gym.load("chain_sum", [], train_problems=1, eval_problems=1, seed=0)
    marks(task, task.train, [task.train[0]["answer"]])
    workers = set(children(os.getpid())) - before
    assert workers
    del task
    assert all(ends(pid) for pid in workers)


def test_workers_that_do_not_start_are_said_in_one_line(monkeypatch):
    task = gym.load("chain_sum", [], train_problems=1, eval_problems=1, seed=0)
    row = task.train[0]
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        with pytest.raises(UsageError, match=r"do not start: .*ended while it started") as caught:
            marks(task, [row], [row["answer"]])
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(UsageError, match="do not start"):
        marks(task, [row], [row["answer"]])


def test_a_scorer_that_cannot_be_made_is_named(monkeypatch):
    monkeypatch.setitem(gym.DATASETS, "only_here", gym.DATASETS["chain_sum"])
    task = gym.load("only_here", [], train_problems=1, eval_problems=1, seed=0)
    row = task.train[0]
    with pytest.raises(UsageError, match="do not start: ValueError: Dataset 'only_here' not registered"):
        marks(task, [row], [row["answer"]])
