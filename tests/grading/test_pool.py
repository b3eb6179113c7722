import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from grading_processes import children, ends, supervisors

from sfpo.grading import Pool, grade, grade_all, validate_golds
from sfpo.grading import pool as pool_module
from sfpo.grading.pool import MEMORY_LIMIT, Task, _Worker, shared_pool

SLOW = (r"\frac{x}{2}", r"\boxed{7^{10^{9}}+x}")
EASY = ("x+1", r"\boxed{1+x}")


def test_verdicts_keep_their_order_around_a_timeout() -> None:
    pairs = [EASY, ("x+1", r"\boxed{x+2}"), SLOW, ("", ""), ("2", r"\boxed{2}"), EASY, EASY]
    verdicts = grade_all(pairs, time_limit=1.0)
    assert [verdict.status for verdict in verdicts] == [
        "correct",
        "wrong",
        "timeout",
        "unparseable",
        "correct",
        "correct",
        "correct",
    ]
    assert 0.5 < verdicts[2].seconds < 2.0


def test_the_next_answer_does_not_wait_for_a_killed_worker() -> None:
    grade(*EASY)
    before = supervisors(shared_pool)
    assert grade(*SLOW, time_limit=0.5).status == "timeout"
    assert grade(*EASY).correct
    # None had to start, which takes seconds.
    assert supervisors(shared_pool) == before


def test_the_memory_limit_ends_an_answer_and_not_the_pool() -> None:
    pool = Pool(memory_limit=512 << 20)
    greedy = (r"\frac{x}{2}", r"\boxed{2^{10^{10}}}")
    verdicts = grade_all([greedy, EASY, EASY, EASY], time_limit=20.0, pool=pool)
    pool.close()
    assert [verdict.status for verdict in verdicts] == ["error", "correct", "correct", "correct"]


def test_an_answer_whose_worker_was_killed_is_judged_again() -> None:
    pool = Pool()
    grade_all([EASY], pool=pool)
    victims = [child for supervisor in supervisors(pool) for child in children(supervisor)]
    killer = threading.Timer(0.5, lambda: [os.kill(pid, signal.SIGKILL) for pid in victims])
    killer.start()
    # It is judged once more, and this time to the end of its time.
    assert grade_all([SLOW], time_limit=3.0, pool=pool)[0].status == "timeout"
    assert grade_all([EASY], pool=pool)[0].correct
    pool.close()


def test_a_lost_worker_is_replaced() -> None:
    pool = Pool()
    grade_all([EASY], pool=pool)
    lost = supervisors(pool)
    for supervisor in lost:
        for pid in (*children(supervisor), supervisor):
            os.kill(pid, signal.SIGKILL)
    grade_all([EASY] * 4, pool=pool)
    assert [verdict.status for verdict in grade_all([EASY] * 4, pool=pool)] == ["correct"] * 4
    assert not set(lost) & set(supervisors(pool))
    pool.close()


def test_a_worker_lost_while_it_starts_is_replaced() -> None:
    pool = Pool()
    pool._workers = [_Worker(MEMORY_LIMIT) for _ in range(2)]
    for supervisor in supervisors(pool):
        os.kill(supervisor, signal.SIGKILL)
    assert [verdict.status for verdict in grade_all([EASY] * 2, pool=pool)] == ["correct"] * 2
    pool.close()


def test_a_worker_that_starts_too_slowly_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_START_LIMIT", 0.0)
    pool = Pool()
    pool._workers = [_Worker(MEMORY_LIMIT)]
    monkeypatch.undo()
    slow = supervisors(pool)
    assert grade_all([EASY], pool=pool)[0].correct
    assert supervisors(pool) != slow
    pool.close()


def test_workers_that_never_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = Pool()
    with pytest.raises(RuntimeError, match="ended while it started"):
        grade_all([EASY], pool=pool)
    assert not pool._workers


def test_many_threads_share_the_workers() -> None:
    results: dict[int, list[str]] = {}

    def work(index: int) -> None:
        verdicts = grade_all([EASY, (f"x+{index}", rf"\boxed{{{index}+x}}"), (f"x+{index}", r"\boxed{x-1}")])
        results[index] = [verdict.status for verdict in verdicts]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {index: ["correct", "correct", "wrong"] for index in range(8)}


def _grade_in_child(queue: "multiprocessing.Queue[str]") -> None:
    queue.put(grade(*EASY).status)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_grade_with_workers_of_their_own(method: str) -> None:
    assert grade(*EASY).correct
    before = supervisors(shared_pool)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_grade_in_child, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == "correct"
    process.join(30)
    assert process.exitcode == 0
    assert grade(*EASY).correct
    assert supervisors(shared_pool) == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_another_thread_grades_does_not_hang() -> None:
    thread = threading.Thread(target=grade, args=SLOW, kwargs={"time_limit": 3.0})
    thread.start()
    time.sleep(0.5)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_grade_in_child, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == "correct"
    process.join(30)
    thread.join(30)


def test_workers_never_load_torch() -> None:
    grade(*EASY)
    for supervisor in supervisors(shared_pool):
        assert "torch" not in Path(f"/proc/{supervisor}/maps").read_text()


def test_a_task_after_close_starts_new_workers() -> None:
    pool = Pool()
    task = Task(*EASY)
    assert pool.judge([task], 5.0)[0].correct
    old = supervisors(pool)
    pool.close()
    assert all(ends(pid) for pid in old)
    assert pool.judge([task], 5.0)[0].correct
    pool.close()


def test_golds_that_do_not_equal_themselves_are_reported_by_row() -> None:
    invalid = validate_golds(["1", r"\frac{0}{0}", "x+1", "  ", r"\frac{1}{2", "1"])
    assert [(entry.row, entry.gold) for entry in invalid] == [(1, r"\frac{0}{0}"), (3, "  "), (4, r"\frac{1}{2")]
    assert invalid[0].reason == "has no defined value"
