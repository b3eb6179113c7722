"""`sfpo train`, from arguments to a trained model and a summary."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import transformers
from rich.console import Console
from rich.markup import escape
from transformers import TrainerCallback, TrainerControl, TrainerState

from sfpo import disk, interrupt
from sfpo.checkpoints import logged_before, newest_complete, steps_made
from sfpo.errors import UsageError
from sfpo.model.devices import keep_one_device
from sfpo.model.load import load_tokenizer
from sfpo.records.lock import FolderLock
from sfpo.records.run import is_finished, missing_model, missing_records
from sfpo.tasks import Task, load_task
from sfpo.training.benchmarks import TrainingBenchmarks
from sfpo.training.build import build, check_room
from sfpo.training.drawing import draw, problems_needed
from sfpo.training.first_process import as_the_first
from sfpo.training.held_out import Evaluation, evaluate
from sfpo.training.options import Parsed, parse
from sfpo.training.resume import Start, drop_checkpoints_after, start_of
from sfpo.training.screen import print_plan, print_stopped, print_summary
from sfpo.training.stop import StopWhenAsked, command_to_continue


@dataclass(frozen=True)
class _Prepared:
    """All that a run needs but its model."""

    parsed: Parsed
    task: Task
    benchmarks: TrainingBenchmarks
    tokenizer: Any
    start: Start


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo train`; returns the exit code.

    Raises:
        UsageError: anything the user can mend: before the first training step, or what a disk refuses later.
    """
    quiet_libraries()
    hidden = keep_one_device()
    parsed = parse(arguments)
    console = Console(quiet=parsed.training.process_index != 0)
    if hidden and parsed.training.device.type != "cpu":
        console.print(
            f"Training on one of {hidden + 1} devices. On all of them: accelerate launch --num_processes {hidden + 1} -m sfpo "
            "train ... (docs/integrations/engines.md has configurations).",
            highlight=False,
            soft_wrap=True,
        )
    folder = Path(parsed.training.output_dir)
    if parsed.command.dry_run:
        if (prepared := _prepare(console, parsed)) is not None:
            print_plan(console, parsed, prepared.task)
        return 0
    try:
        with _only_writer(parsed, arguments) as lock:
            prepared = _prepare(console, parsed)
            return 0 if prepared is None else _run(console, prepared, lock)
    except KeyboardInterrupt:
        checkpoint = newest_complete(folder).checkpoint
        print_stopped(console, folder, checkpoint, command_to_continue(arguments, folder, checkpoint is not None))
        return interrupt.exit_code()


@contextmanager
def _only_writer(parsed: Parsed, arguments: Sequence[str]) -> Iterator[FolderLock | None]:
    """Hold the output folder, in the one process that writes there."""
    folder = Path(parsed.training.output_dir)
    if parsed.training.process_index != 0:
        yield None
        return

    def remedy() -> str:
        checkpoint = newest_complete(folder).checkpoint is not None
        then = "continue" if checkpoint else "start again"
        return f"mend that and {then} with: {command_to_continue(arguments, folder, checkpoint)}"

    with FolderLock(folder, "sfpo train") as lock, disk.writing_to(folder, remedy):
        yield lock


def _prepare(console: Console, parsed: Parsed) -> _Prepared | None:
    """Load what the run needs; None if it is finished and nothing is left to make."""
    options, training = parsed.command, parsed.training
    start = start_of(parsed)
    for note in start.notes:
        console.print(escape(note), highlight=False, soft_wrap=True)
    if start.nothing_left:
        console.print(f"{escape(training.output_dir)} is finished: nothing is left to train.", soft_wrap=True)
        return None
    # The model comes first: a wrong name should not cost the time that reading or drawing the problems takes.
    tokenizer = load_tokenizer(options.model, training.trust_remote_code)
    check_room(options.model, training)
    task = load_task(
        options.task,
        parameters=options.task_params,
        data_path=options.data_path,
        prompt_column=options.prompt_column,
        answer_column=options.answer_column,
        prompt_template=options.prompt_template,
        difficulty=options.difficulty,
        clean=options.clean_data,
        benchmark_data_path=options.benchmark_data_path,
        train_problems=problems_needed(options, training),
        eval_problems=options.eval_problems,
        seed=training.seed,
    )
    if task.note:
        console.print(escape(task.note), highlight=False, soft_wrap=True)
    benchmarks = TrainingBenchmarks(options, training)
    _check(parsed, task)
    return _Prepared(parsed, task, benchmarks, tokenizer, start)


def _check(parsed: Parsed, task: Task) -> None:
    options, training = parsed.command, parsed.training
    prompts = training.generation_batch_size // training.num_generations
    if task.train_size < prompts:
        raise UsageError(
            f"{task.name} has {task.train_size} problems to train on, fewer than the {prompts} prompts of one batch: "
            "lower --per_device_train_batch_size or raise --num_generations"
        )
    if options.model.endswith(".gguf") and training.beta != 0 and not parsed.model.use_peft:
        raise UsageError(
            "--beta needs a second copy of the model, which a .gguf file cannot give: save it as a folder first, "
            "or add --use_peft"
        )


def _run(console: Console, prepared: _Prepared, lock: FolderLock | None) -> int:
    parsed, tokenizer, start = prepared.parsed, prepared.tokenizer, prepared.start
    task = draw(console, prepared.task)
    options, folder = parsed.command, Path(parsed.training.output_dir)
    built = build(console, parsed, task, tokenizer)
    trainer, records = built.trainer, built.records
    # Where several processes evaluate together, none may leave the others.
    check = interrupt.check if trainer.accelerator.num_processes == 1 else _never_stop

    def measure(step: int) -> Evaluation:
        model = trainer.accelerator.unwrap_model(trainer.model)
        prepared.benchmarks.measure(step, model, tokenizer, records, check)
        evaluation = as_the_first(records.evaluation_at(step))
        if evaluation is None:
            evaluation = evaluate(trainer, tokenizer, task, options.eval_batch_size, check)
            records.add_evaluation(step, evaluation)
        trainer.card_facts.evaluations = records.evaluations()
        return evaluation

    facts = {"weights": built.weights, "machine": built.machine}
    if start.checkpoint is None:
        records.begin(parsed.effective(), **facts)
        console.print(f"{escape(built.title)} on {built.machine}", soft_wrap=True)
        console.print(f"Answering {len(task.held_out)} held-out problems before training ...")
    else:
        step, steps = steps_made(start.checkpoint), trainer.total_steps()
        if step < steps:
            console.print(f"Continuing from {escape(str(start.checkpoint))} (step {step}).", soft_wrap=True)
            if trainer.is_world_process_zero():
                drop_checkpoints_after(folder, step)
        else:
            console.print(f"{escape(str(folder))} is finished, with step {step} of {steps}.", soft_wrap=True)
            if is_finished(folder):
                records_lack, model_lacks = missing_records(folder), missing_model(folder)
                if records_lack is None and model_lacks is None:
                    return 0
                if model_lacks is not None:
                    console.print(f"[yellow]Warning:[/] its model lacks {escape(model_lacks)}.", soft_wrap=True)
            console.print("Nothing is trained; what is missing of its records and its model is made.", soft_wrap=True)
        logged = logged_before(start.checkpoint)
        for said in records.continue_from(step, logged, keep=step >= steps, **facts):
            console.print(f"[yellow]Warning:[/] {escape(said)}", soft_wrap=True)
    before = measure(0)
    if options.eval_every:
        trainer.add_callback(_EvaluateEvery(options.eval_every, measure))
    stop = StopWhenAsked(trainer)
    trainer.add_callback(stop)
    if lock is not None:
        trainer.add_callback(_CheckFolder(lock))
    try:
        with interrupt.finishing("this step"):
            trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
    finally:
        built.progress.stop()
    if stop.stopped:
        raise interrupt.Interrupted
    trainer.save_model()
    try:
        after = measure(trainer.state.global_step)
    except KeyboardInterrupt:
        console.print(
            f"The trained model is saved in {folder}; how good it is was not measured yet.",
            markup=False,
            soft_wrap=True,
        )
        raise
    # The model was saved before, so that it is there if the evaluation fails; the card says what came of it.
    trainer.create_model_card()
    if parsed.training.push_to_hub:
        trainer.push_to_hub(commit_message="Evaluate the model")
    records.finish(trainer.state.global_step)
    if trainer.is_world_process_zero() and (lost := missing_records(folder)) is not None:
        # An evaluation needs the weights of its step, which are gone.
        console.print(f"[yellow]Warning:[/] {escape(lost)}, and it cannot be made again.", soft_wrap=True)
    print_summary(console, parsed, before, after, trainer)
    return 0


def _never_stop() -> None:
    pass


class _EvaluateEvery(TrainerCallback):
    """Evaluates every so many steps, but not where the user asked to stop: the run that goes on makes up for that."""

    def __init__(self, steps: int, measure: Callable[[int], Evaluation]) -> None:
        self._steps = steps
        self._measure = measure

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._evaluate(state.global_step)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._evaluate(state.global_step)

    def _evaluate(self, step: int) -> None:
        if step and step % self._steps == 0:
            with suppress(interrupt.Interrupted):
                self._measure(step)


class _CheckFolder(TrainerCallback):
    """Ends a run whose folder is gone; saving would make it anew, without what was in it."""

    def __init__(self, lock: FolderLock) -> None:
        self._lock = lock

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._lock.check()


def quiet_libraries() -> None:
    """One display at a time: the libraries' bars and notices would tear the live panel."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
