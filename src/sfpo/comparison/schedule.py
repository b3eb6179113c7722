"""Runs of `sfpo train` spread over the machine, each a process of its own that can fail alone."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM

from sfpo import interrupt
from sfpo.checkpoints import newest_complete
from sfpo.errors import UsageError
from sfpo.model import cpu
from sfpo.model.devices import one_device
from sfpo.model.load import resolve
from sfpo.records.lock import FolderLock
from sfpo.records.run import COMPLETIONS, METRICS, is_finished

LOG = "train.log"


@dataclass(frozen=True)
class Job:
    """One run: its name for the user, its folder and the arguments of `sfpo train`."""

    label: str
    folder: Path
    arguments: list[str]


def default_jobs(model: str, trust_remote_code: bool = False) -> int:
    """How many runs at a time: one an accelerator; on a CPU one a core for small models, each on one thread."""
    if torch.accelerator.is_available():
        return torch.accelerator.device_count()
    return _cores() if _weights(model, trust_remote_code) < cpu.SMALL else 1


def run_all(jobs: list[Job], at_a_time: int, on_wait: Callable[[], None]) -> Iterator[tuple[Job, str | None]]:
    """Run every job; yields each as it ends, with the reason if it failed.

    `on_wait` is called about once a second. When the caller stops early, what runs is stopped too, and can be continued.

    Raises:
        Interrupted: the user asked to stop, and what ran has saved the step that it was in.
    """
    # Forked from a process that has the libraries loaded, a run starts at once; accelerators do not survive a fork.
    process_kind: type[BaseProcess] = SpawnProcess
    if not torch.accelerator.is_available():
        process_kind = ForkServerProcess
        _start_forkserver()
    waiting, running = list(jobs), dict[int, tuple[Job, BaseProcess]]()
    told = False
    try:
        while running or (waiting and not told):
            for slot in range(0 if told else at_a_time):
                if waiting and slot not in running:
                    job = waiting.pop(0)
                    process = process_kind(target=_train, args=(job, at_a_time))
                    with one_device(slot):
                        process.start()
                    running[slot] = job, process
            wait([process.sentinel for _, process in running.values()], timeout=1.0)
            on_wait()
            if interrupt.requested() and not told:
                told = True
                _terminate(running.values())
            for slot, (job, process) in list(running.items()):
                if process.exitcode is not None:
                    del running[slot]
                    if not told or process.exitcode == 0:
                        yield job, _failure(job, process.exitcode)
    finally:
        _terminate(running.values())
        for _, process in running.values():
            process.join()
    if told:
        raise interrupt.Interrupted


def _terminate(running: Iterable[tuple[Job, BaseProcess]]) -> None:
    for _, process in running:
        process.terminate()


def _start_forkserver() -> None:
    """Start the process that runs are forked from. SIGTERM may be sent to all processes of a job, and would end it."""
    forkserver.set_forkserver_preload(["sfpo.training.command"])
    resource_tracker.ensure_running()  # the forkserver would start it, which lets SIGTERM through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _train(job: Job, at_a_time: int) -> None:
    """In the process of one run."""
    # Ctrl-C is for the comparison, which asks its runs to stop. A second signal does not end them, since it may come from
    # whoever sent it to the whole group; they end at once where the comparison does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupt.listening(signal.SIGTERM, ends_at_second=False):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        sys.exit(_exit_code(job, at_a_time))


def _exit_code(job: Job, at_a_time: int) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if not torch.accelerator.is_available():
        torch.set_num_threads(max(1, _cores() // at_a_time))
    from sfpo.training.command import main

    arguments = list(job.arguments)
    try:
        newest = newest_complete(job.folder)
        if newest.checkpoint is not None:
            arguments += ["--resume_from_checkpoint", "last"]
        elif not newest.skipped:  # with checkpoints of which none is complete, the run itself says what to do
            # Stopped before its first checkpoint: it begins anew, whatever version of SFPO began it.
            with FolderLock(job.folder, "sfpo compare"):
                for name in (METRICS, COMPLETIONS):
                    (job.folder / name).unlink(missing_ok=True)
        return main(arguments)
    except UsageError as error:
        print(f"sfpo train: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


def _end_with_parent() -> None:
    """A run that outlived its comparison would write into the folder of the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _failure(job: Job, exit_code: int) -> str | None:
    if exit_code == 0 and is_finished(job.folder):
        for checkpoint in job.folder.glob("checkpoint-*"):  # they served to continue this run
            shutil.rmtree(checkpoint)
        return None
    try:
        log = (job.folder / LOG).read_text(errors="replace")
    except FileNotFoundError:
        log = f"{job.folder} was deleted or moved"
    lines = [line for line in log.splitlines() if line.strip()]
    said = lines[-1].strip() if lines else "no word"
    return f"exit code {exit_code}: {said}" if exit_code >= 0 else f"killed by signal {-exit_code}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _weights(model: str, trust_remote_code: bool) -> int:
    source, keywords = resolve(model, trust_remote_code)
    config = AutoConfig.from_pretrained(source, **keywords)
    with init_empty_weights():
        return sum(
            p.numel()
            for p in AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code).parameters()
        )
