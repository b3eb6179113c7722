"""`sfpo train`, from arguments to a trained model and a summary."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import transformers
from rich.console import Console
from rich.markup import escape
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import get_last_checkpoint

from sfpo.errors import UsageError
from sfpo.model.devices import keep_one_device
from sfpo.model.load import load_tokenizer
from sfpo.records.run import METRICS
from sfpo.tasks import Task, load_task
from sfpo.training.benchmarks import TrainingBenchmarks
from sfpo.training.build import build
from sfpo.training.held_out import Evaluation, evaluate
from sfpo.training.options import Parsed, parse
from sfpo.training.screen import print_plan, print_summary
from sfpo.trl import SFPOConfig


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo train`; returns the exit code.

    Raises:
        UsageError: anything the user can mend, before the first training step.
    """
    quiet_libraries()
    hidden = keep_one_device()
    parsed = parse(arguments)
    options, training = parsed.command, parsed.training
    console = Console(quiet=training.process_index != 0)
    if hidden and training.device.type != "cpu":
        console.print(
            f"Training on one of {hidden + 1} devices. On all of them: accelerate launch --num_processes {hidden + 1} -m "
            "sfpo.cli train ... (docs/engines.md has configurations).",
            highlight=False,
            soft_wrap=True,
        )
    checkpoint = _checkpoint_to_resume(training)
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
    return _run(console, parsed, task, benchmarks, tokenizer, checkpoint)


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
    checkpoint: str | None,
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

    if checkpoint is None:
        records.describe(parsed.effective(), weights=built.weights, machine=built.machine)
        console.print(f"{escape(built.title)} on {built.machine}", soft_wrap=True)
        console.print(f"Answering {len(task.held_out)} held-out problems before training ...")
    else:
        step = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json")).global_step
        records.rewind(step)
        records.add_provenance()
        console.print(f"Continuing from {checkpoint} (step {step}).")
    before = measure(0)
    if options.eval_every:
        trainer.add_callback(_EvaluateEvery(options.eval_every, measure))
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except KeyboardInterrupt:
        saved = get_last_checkpoint(str(folder))
        again = "--resume_from_checkpoint last" if saved else "a new --output_dir (nothing was saved yet)"
        console.print(f"\nStopped at step {trainer.state.global_step}. Continue with the same command and {again}.")
        return 130
    finally:
        built.progress.stop()
    trainer.save_model()
    after = measure(trainer.state.global_step)
    records.update_run(finished=time.time())
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


def _checkpoint_to_resume(training: SFPOConfig) -> str | None:
    folder = Path(training.output_dir)
    wanted = training.resume_from_checkpoint
    if wanted is None:
        if (folder / METRICS).exists() or (folder.is_dir() and get_last_checkpoint(str(folder))):
            raise UsageError(
                f"{folder} already holds a run: continue it with --resume_from_checkpoint last, or choose another "
                "--output_dir"
            )
        return None
    if str(wanted).lower() in ("last", "true"):
        found: str | None = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        if found is None:
            raise UsageError(f"{folder} holds no checkpoint to continue from: start without --resume_from_checkpoint")
        return found
    if not (Path(wanted) / "trainer_state.json").is_file():
        raise UsageError(f"{wanted} is not a checkpoint: give its folder, or 'last'")
    return str(wanted)
