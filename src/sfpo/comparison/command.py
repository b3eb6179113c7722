"""`sfpo compare`, from arguments to finished runs and their summary."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sfpo import disk, interrupt
from sfpo.comparison import schedule
from sfpo.comparison.lost_record import has_runs_of
from sfpo.comparison.options import CompareOptions, parse_comparison
from sfpo.comparison.schedule import Job
from sfpo.comparison.screen import print_tables
from sfpo.errors import UsageError
from sfpo.json_object import read_object
from sfpo.options import command_line, config_of
from sfpo.records.comparison import EVALUATIONS, STEPS, collect, run_folder
from sfpo.records.lock import FolderLock
from sfpo.records.provenance import PROVENANCE, entries_of, extended, provenance
from sfpo.records.rows import read_rows
from sfpo.records.run import (
    METRICS,
    METRICS_ROW,
    RUN,
    RUN_FILES,
    finished_after,
    missing_records,
    read_facts,
    read_metrics,
)
from sfpo.records.summary import COMPARED, SPECIFICATION, SUMMARY, TABLES, write_summary
from sfpo.report.page import write_report
from sfpo.training.command import quiet_libraries
from sfpo.whole import write_whole

Specification = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo compare`; returns the exit code, 1 when a run failed.

    Raises:
        UsageError: anything the user can mend, before the first run starts.
    """
    quiet_libraries()
    options = parse_comparison(arguments)
    console = Console()
    if options.dry_run:
        return _compare(console, options, arguments)
    again = command_line("compare", arguments)
    try:
        with (
            FolderLock(options.folder, "sfpo compare"),
            disk.writing_to(options.folder, lambda: f"mend that and continue with: {again}"),
        ):
            return _compare(console, options, arguments)
    except KeyboardInterrupt:
        for line in ("", f"Stopped. What was made is saved in {options.folder}. Continue with:", again):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return interrupt.exit_code()


def _compare(console: Console, options: CompareOptions, arguments: Sequence[str]) -> int:
    disk.refuse_all_but_files(options.folder, (SPECIFICATION, STEPS, EVALUATIONS, SUMMARY, TABLES))
    specification = _specification(options, arguments)
    runs = [(variant["name"], seed) for variant in specification["variants"] for seed in specification["seeds"]]
    for run in runs:
        disk.refuse_all_but_files(run_folder(options.folder, *run), RUN_FILES)
    jobs = [job for job in _jobs(options) if finished_after(job.folder) is None]
    if options.warning:
        console.print(f"[yellow]Warning:[/] {options.warning}", soft_wrap=True)
    model, trusted = options.example.command.model, options.example.training.trust_remote_code
    at_a_time = min(options.jobs or schedule.default_jobs(model, trusted), len(jobs) or 1)
    console.print(
        f"{len(jobs)} runs of {options.example.training.max_steps} steps to make, {at_a_time} at a time",
        highlight=False,
    )
    if options.dry_run:
        for job in jobs:
            console.print(f"sfpo train {shlex.join(job.arguments)}", highlight=False, markup=False, soft_wrap=True)
        return 0
    if jobs:
        specification[PROVENANCE] = extended(specification[PROVENANCE], provenance())
    _save(options, specification)
    is_stopped = failed = False
    try:
        failed = _run(console, options, specification, jobs, at_a_time)
    except KeyboardInterrupt:
        is_stopped = True
    finished = [run for run in runs if finished_after(run_folder(options.folder, *run)) is not None]
    broken = _report_broken(console, options, specification, finished)
    # Whole again, whatever became of it in the hours since.
    _save(options, specification)
    collect(options.folder, [run for run in finished if run not in broken])
    summary = write_summary(options.folder)
    print_tables(console, summary)
    console.print(f"Tables  {options.folder / TABLES}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Report  {write_report(options.folder)}", markup=False, highlight=False, soft_wrap=True)
    if is_stopped:
        for job in jobs:
            if finished_after(job.folder) is None and (step := _steps_done(job)):
                console.print(f"{escape(job.label)}: stopped after step {step}", highlight=False)
        raise interrupt.Interrupted
    return int(failed or bool(broken))


def _report_broken(
    console: Console, options: CompareOptions, specification: Specification, finished: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """The finished runs whose records have lost something: they fail, instead of missing from the tables in silence."""
    broken = []
    for variant, seed in finished:
        folder = run_folder(options.folder, variant, seed)
        if not read_facts(folder):
            console.print(
                f"[yellow]Warning:[/] {escape(str(folder / RUN))} is missing or broken; the run's metrics say that it finished.",
                soft_wrap=True,
            )
        if (missing := missing_records(folder)) is not None:
            reason = f"it finished, but {missing}"
            broken.append((variant, seed))
            specification["failed"].setdefault(variant, []).append({"seed": seed, "error": reason})
            console.print(
                f"[red]{escape(variant)}, seed {seed} cannot be counted[/]: {escape(reason)}. Delete {escape(str(folder))} and repeat the "
                "command to make it again.",
                soft_wrap=True,
            )
    return broken


def _specification(options: CompareOptions, arguments: Sequence[str]) -> Specification:
    """What the folder compares: what was asked for now and, if it holds a comparison already, what was there."""
    path = options.folder / SPECIFICATION
    specification: Specification = {
        "command": ["sfpo", "compare", *arguments],
        "model": options.example.command.model,
        "task": options.example.command.task,
        "methods": sorted({variant.method for variant in options.variants}),
        "seeds": options.seeds,
        "sweep": options.sweep,
        "train": options.train,
        # Recorded, since the file may change, and a reader of the record may not have it.
        "configuration": {
            name: value for name, value in config_of(options.train).items() if isinstance(value, str | int | float)
        },
        "variants": [asdict(variant) for variant in options.variants],
        "failed": {},
        PROVENANCE: [],
    }
    if not path.exists():
        if has_runs_of(options.folder, _jobs(options)):
            specification[PROVENANCE] = [{}]
        return specification
    before = read_object(
        path,
        COMPARED | {"train": [str], "methods": [str]},
        "delete it to continue with what its runs have made, or choose another --output_dir",
    )
    if before["train"] != specification["train"]:
        raise UsageError(
            f"{options.folder} holds a comparison of runs with '{shlex.join(before['train'])}': give the same options to "
            "continue it, or choose another --output_dir"
        )
    known = {variant["name"] for variant in specification["variants"]}
    specification["variants"] += [variant for variant in before["variants"] if variant["name"] not in known]
    specification[PROVENANCE] = entries_of(before)
    specification["seeds"] = sorted({*before["seeds"], *options.seeds})
    specification["methods"] = sorted({*before["methods"], *specification["methods"]})
    specification["failed"] = _still_failed(options, before["failed"])
    return specification


def _still_failed(options: CompareOptions, before: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The failed runs that are not asked for again and have not finished since."""
    asked_for = {(variant.name, seed) for variant in options.variants for seed in options.seeds}
    still = {
        variant: [
            one
            for one in runs
            if (variant, one["seed"]) not in asked_for
            and finished_after(run_folder(options.folder, variant, one["seed"])) is None
        ]
        for variant, runs in before.items()
    }
    return {variant: runs for variant, runs in still.items() if runs}


def _jobs(options: CompareOptions) -> list[Job]:
    """The runs that are asked for, seed by seed, so that an early stop leaves whole comparisons."""
    jobs = []
    for seed in options.seeds:
        for variant in options.variants:
            folder = run_folder(options.folder, variant.name, seed)
            own = ["--seed", str(seed), "--output_dir", str(folder)]
            jobs.append(Job(f"{variant.name}, seed {seed}", folder, [*variant.arguments_with(options.train), *own]))
    return jobs


def _run(
    console: Console, options: CompareOptions, specification: Specification, jobs: list[Job], at_a_time: int
) -> bool:
    """Make the runs, and say whether one failed.

    Raises:
        Interrupted: the user stopped them.
    """
    steps = options.example.training.max_steps
    failed = False
    bar = Progress(
        TextColumn("{task.completed:.0f}/{task.total} runs"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
        disable=not console.is_terminal,
    )
    ended: set[str] = set()
    with bar:
        task = bar.add_task("", total=len(jobs))

        def show() -> None:
            begun = sum(_steps_done(job) / max(1, steps) for job in jobs if job.label not in ended)
            bar.update(task, completed=len(ended) + begun)

        with interrupt.finishing("the step that each run is in"):
            for job, reason in schedule.run_all(jobs, at_a_time, show):
                ended.add(job.label)
                if reason is None:
                    if missing_records(job.folder) is None:
                        accuracy = read_metrics(job.folder, "evaluation")[-1]["accuracy"]
                        console.print(f"{escape(job.label)}: {accuracy:.1%} at the end", highlight=False)
                    continue
                failed = True
                variant, seed = job.folder.parent.name, int(job.folder.name.removeprefix("seed-"))
                specification["failed"].setdefault(variant, []).append({"seed": seed, "error": reason})
                _save(options, specification)
                console.print(
                    f"[red]{escape(job.label)} failed[/]: {escape(reason)} (see {escape(str(job.folder / schedule.LOG))})",
                    soft_wrap=True,
                )
    return failed


def _steps_done(job: Job) -> int:
    return max((row["step"] for row in read_rows(job.folder / METRICS, METRICS_ROW)), default=0)


def _save(options: CompareOptions, specification: Specification) -> None:
    write_whole(options.folder / SPECIFICATION, json.dumps(specification, indent=1) + "\n")
