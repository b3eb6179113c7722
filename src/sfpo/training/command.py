"""`sfpo train`, from arguments to a trained model and a summary."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import transformers
from rich.console import Console
from rich.markup import escape
from transformers import TrainerCallback, TrainerControl, TrainerState

from sfpo.errors import UsageError
from sfpo.model.load import load_tokenizer
from sfpo.records.run import is_finished, missing_records
from sfpo.tasks import Task, load_task
from sfpo.training.benchmarks import TrainingBenchmarks
from sfpo.training.build import build
from sfpo.training.held_out import Evaluation, evaluate
from sfpo.training.options import Parsed, parse
from sfpo.training.resume import Start, drop_checkpoints_after, start_of
from sfpo.training.screen import print_plan, print_summary
from sfpo.trl.checkpoint import newest_complete, steps_made


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo train`; returns the exit code.

    Raises:
        UsageError: anything the user can mend, before the first training step.
    """
    quiet_libraries()
    parsed = parse(arguments)
    options, training = parsed.command, parsed.training
    console = Console(quiet=training.process_index != 0)
    start = start_of(parsed)
    for note in start.notes:
        console.print(escape(note), highlight=False, soft_wrap=True)
    if start.nothing_left:
        console.print(f"{escape(training.output_dir)} is finished: nothing is left to train.", soft_wrap=True)
        return 0
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
        train_problems=options.train_problems,
        eval_problems=options.eval_problems,
        seed=training.seed,
    )
    if task.note:
        console.print(escape(task.note), highlight=False, soft_wrap=True)
    benchmarks = TrainingBenchmarks(options, training)
    tokenizer = load_tokenizer(options.model, training.trust_remote_code)
    _check(parsed, task)
    if options.dry_run:
        print_plan(console, parsed, task)
        return 0
    return _run(console, parsed, task, benchmarks, tokenizer, start)


def _check(parsed: Parsed, task: Task) -> None:
    options, training = parsed.command, parsed.training
    prompts = training.generation_batch_size // training.num_generations
    if len(task.train) < prompts:
        raise UsageError(
            f"{task.name} has {len(task.train)} problems to train on, fewer than the {prompts} prompts of one batch: "
            "lower --per_device_train_batch_size or raise --num_generations"
        )
    if options.model.endswith(".gguf") and training.beta != 0 and not parsed.model.use_peft:
        raise UsageError(
            "--beta needs a second copy of the model, which a .gguf file cannot give: save it as a folder first, "
            "or add --use_peft"
        )


def _run(
    console: Console,
    parsed: Parsed,
    task: Task,
    benchmarks: TrainingBenchmarks,
    tokenizer: Any,
    start: Start,
) -> int:
    options, folder = parsed.command, Path(parsed.training.output_dir)
    built = build(console, parsed, task, tokenizer)
    trainer, records = built.trainer, built.records

    def measure(step: int) -> Evaluation:
        benchmarks.measure(step, trainer.accelerator.unwrap_model(trainer.model), tokenizer, records)
        known = records.evaluation_at(step)
        if known is not None:
            return known
        evaluation = evaluate(trainer, tokenizer, task, options.eval_batch_size)
        records.add_evaluation(step, evaluation)
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
            if is_finished(folder) and missing_records(folder) is None and any(folder.glob("*.safetensors")):
                return 0
            console.print("Nothing is trained; what is missing of its records and its model is made.", soft_wrap=True)
        for said in records.continue_from(step, keep=step >= steps, **facts):
            console.print(f"[yellow]Warning:[/] {escape(said)}", soft_wrap=True)
    before = measure(0)
    if options.eval_every:
        trainer.add_callback(_EvaluateEvery(options.eval_every, measure))
    try:
        trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
    except KeyboardInterrupt:
        again = " and --resume_from_checkpoint last" if newest_complete(folder).checkpoint else ""
        console.print(f"\nStopped at step {trainer.state.global_step}. Continue with the same command{again}.")
        return 130
    finally:
        built.progress.stop()
    trainer.save_model()
    after = measure(trainer.state.global_step)
    records.finish(trainer.state.global_step)
    print_summary(console, folder, before, after, trainer)
    return 0


class _EvaluateEvery(TrainerCallback):
    def __init__(self, steps: int, measure: Any) -> None:
        self._steps = steps
        self._measure = measure

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self._steps == 0:
            self._measure(state.global_step)


def quiet_libraries() -> None:
    """One display at a time: the libraries' bars and notices would tear the live panel."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
