"""Workers that are killed, stopped or delayed at any moment: a verdict never belongs to another answer."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from grading_processes import children, ends, supervisors

from sfpo.grading import Pool, grade_all, math_reward
from sfpo.grading import pool as pool_module
from sfpo.grading.pool import shared_pool

EASY = ("x+1", r"\boxed{1+x}")
SLOW = (r"\frac{x}{2}", r"\boxed{7^{10^{9}}+x}")


def answers(count: int, seed: int) -> tuple[list[tuple[str, str]], list[bool]]:
    """Pairs that only a worker can judge, no two alike, and which of them are right."""
    rng = random.Random(seed)
    truth = [rng.random() < 0.5 for _ in range(count)]
    return [(f"x+{i}", rf"\boxed{{{i if right else i + 1}+x}}") for i, right in enumerate(truth)], truth


def signalled(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def attack(pool: Pool, over: threading.Event, seed: int, counts: dict[str, int]) -> None:
    """Kills, stops and delays the pool's processes until `over`: children more often than supervisors, which take
    seconds to start again, and are seldom disturbed while they do."""
    rng = random.Random(seed)
    while not over.wait(rng.uniform(0.02, 0.3)):
        pids = [pid for pid in supervisors(pool) if children(pid) or rng.random() < 0.02]
        if not pids:
            continue
        victim = rng.choice(pids)
        if rng.random() < 0.9:
            victim = rng.choice(children(victim) or [victim])
        fault = rng.choice(["kill", "kill", "delay", "delay", "stop"])
        counts[fault] = counts.get(fault, 0) + 1
        signalled(victim, signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
        if fault == "delay":
            over.wait(rng.uniform(0.0, 0.4))
            signalled(victim, signal.SIGCONT)


def graded_under_attack(count: int, seed: int, threads: int = 1) -> tuple[int, int, int]:
    """How many of `count` verdicts are wrong, how many answers were given up, and how many faults there were."""
    patch = pytest.MonkeyPatch()
    # A stopped process is given up after six seconds instead of forty.
    patch.setattr(pool_module, "_WALL_SECONDS_PER_SECOND", 3.0)
    pool = Pool(workers=3)
    over, counts, results = threading.Event(), {}, []
    attacker = threading.Thread(target=attack, args=(pool, over, seed, counts))

    def work(part: int) -> None:
        pairs, truth = answers(count // threads, seed + part)
        for start in range(0, len(pairs), 25):
            verdicts = grade_all(pairs[start : start + 25], time_limit=2.0, pool=pool)
            results.extend(zip((v.status for v in verdicts), truth[start : start + 25], strict=True))

    workers = [threading.Thread(target=work, args=(part,)) for part in range(threads)]
    attacker.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    over.set()
    attacker.join()
    pool.close()
    patch.undo()
    assert len(results) == count // threads * threads
    judged = [(status, right) for status, right in results if status in ("correct", "wrong")]
    wrong = sum((status == "correct") != right for status, right in judged)
    return wrong, len(results) - len(judged), sum(counts.values())


def _report(queue: "multiprocessing.Queue[tuple[int, int, int]]", count: int, seed: int) -> None:
    queue.put(graded_under_attack(count, seed))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", ["threads", "fork", "spawn"])
def test_no_verdict_belongs_to_another_answer_whatever_happens_to_the_workers(way: str) -> None:
    count = 2000
    if way == "threads":
        wrong, given_up, faults = graded_under_attack(count, seed=1, threads=4)
    else:
        # The parent has workers of its own, which the children must leave alone.
        assert grade_all([EASY])[0].correct
        context = multiprocessing.get_context(way)
        queue = context.Queue()
        processes = [context.Process(target=_report, args=(queue, count // 2, seed)) for seed in (2, 3)]
        for process in processes:
            process.start()
        wrong, given_up, faults = map(sum, zip(*(queue.get(timeout=1500) for _ in processes), strict=True))
        for process in processes:
            process.join(60)
        assert grade_all([EASY])[0].correct
    assert wrong == 0
    assert faults >= 10
    # An answer is given up, and its verdict says so, when it lost two workers.
    assert given_up <= faults / 2


def test_rewards_stay_right_after_an_idle_child_is_killed() -> None:
    grade_all([EASY] * 4)
    pairs, truth = answers(40, seed=4)
    for _ in range(3):
        for supervisor in supervisors(shared_pool):
            for child in children(supervisor):
                os.kill(child, signal.SIGKILL)
        rewards = math_reward([response for _, response in pairs], [gold for gold, _ in pairs])
        assert rewards == [float(right) for right in truth]


@pytest.mark.parametrize("victims", ["children", "supervisors"])
def test_a_stopped_process_is_replaced_and_its_answer_judged_again(
    victims: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool()
    grade_all([EASY], pool=pool)
    monkeypatch.setattr(pool_module, "_WALL_SECONDS_PER_SECOND", 3.0)
    stopped = supervisors(pool)
    if victims == "children":
        stopped = [child for supervisor in stopped for child in children(supervisor)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    pairs, truth = answers(20, seed=5)
    # Longer than a pipe holds, so that part of it waits for the stopped process.
    pairs[0] = (pairs[0][0], "So it is. " * 20_000 + pairs[0][1])
    verdicts = grade_all(pairs, time_limit=2.0, pool=pool)
    assert [verdict.correct for verdict in verdicts] == truth
    # One that was stopped while it started is given two minutes, and ends with the pool.
    pool.close()
    assert all(ends(pid) for pid in stopped)


def test_a_verdict_does_not_depend_on_how_long_a_worker_waits_for_a_processor() -> None:
    pool = Pool()
    grade_all([EASY] * 4, pool=pool)
    nested = "7"
    for _ in range(60):
        nested = rf"\frac{{{nested}}}{{1}}"
    found = []
    thread = threading.Thread(
        target=lambda: found.extend(grade_all([("7", rf"\boxed{{{nested}}}")], time_limit=3.0, pool=pool))
    )
    thread.start()
    time.sleep(0.05)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for supervisor in supervisors(pool):
            for child in children(supervisor):
                os.kill(child, number)
        time.sleep(4.0 if number == signal.SIGSTOP else 0.0)
    thread.join()
    pool.close()
    assert found[0].correct
    assert found[0].seconds < 3.0


def test_a_long_response_costs_the_caller_next_to_nothing() -> None:
    grade_all([EASY])
    started = time.process_time()
    verdict = grade_all([("7", r"Then \boxed{1} and " * 100_000 + r"\boxed{7}")])[0]
    assert time.process_time() - started < 0.5
    assert verdict.status in ("correct", "wrong")


def test_a_reply_to_another_request_is_dropped_and_its_worker_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first supervisor answers a request that nobody made, the second says nothing that can be read, then real ones."""
    started = tmp_path / "started"
    script = tmp_path / "supervisor.py"
    script.write_text(
        "import json, os, runpy, sys\n"
        f"started = {str(started)!r}\n"
        "with open(started, 'a') as file: file.write('x')\n"
        "number = os.path.getsize(started)\n"
        "if number > 2:\n"
        f"    sys.argv[0] = {str(pool_module._SUPERVISOR)!r}\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "    sys.exit()\n"
        "print(json.dumps({'ready': True}), flush=True)\n"
        "request = json.loads(sys.stdin.readline())\n"
        "lie = {'id': request['id'] - 1, 'status': 'correct', 'seconds': 0.0}\n"
        "print(json.dumps(lie) if number == 1 else '?', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    monkeypatch.setattr(pool_module, "_SUPERVISOR", script)
    pool = Pool()
    pairs, truth = answers(20, seed=6)
    verdicts = grade_all(pairs, pool=pool)
    pool.close()
    assert [verdict.correct for verdict in verdicts] == truth
    assert pool.stale_replies == 2
    assert pool.replaced_workers == 2


CALLERS: dict[str, str] = {
    "idle": "time.sleep(60)",
    "busy": f"grade(*{SLOW!r}, time_limit=60.0)",
    "its pipes held open by another program": (
        "[os.set_inheritable(w.requests.fileno(), True) for w in shared_pool._workers]\n"
        "holder = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "print(holder.pid, flush=True)\n"
        "time.sleep(60)"
    ),
    "its child stopped": (
        "[os.kill(child, signal.SIGSTOP) for w in shared_pool._workers for child in children(w._process.pid)]\n"
        f"grade(*{SLOW!r}, time_limit=60.0)"
    ),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_workers_end_with_a_killed_caller(caller: str) -> None:
    script = (
        "import os, signal, subprocess, time\n"
        "from grading_processes import children\n"
        "from sfpo.grading import grade\n"
        "from sfpo.grading.pool import shared_pool\n"
        f"assert grade(*{EASY!r}).correct\n"
        "pids = [w._process.pid for w in shared_pool._workers]\n"
        "while not all(map(children, pids)): time.sleep(0.05)\n"
        "print(*pids, *[child for pid in pids for child in children(pid)], flush=True)\n"
        f"{CALLERS[caller]}\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) >= 4
    holder = int(process.stdout.readline()) if "open" in caller else None
    time.sleep(0.5)
    process.kill()
    process.wait()
    assert all(ends(pid) for pid in pids)
    if holder is not None:
        os.kill(holder, signal.SIGKILL)
