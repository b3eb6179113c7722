"""`sfpo train`, from arguments to a trained model and a summary."""

import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import transformers
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers import ProgressCallback as TransformersProgress
from transformers.trainer_utils import get_last_checkpoint
from trl import get_peft_config, get_quantization_config

from sfpo.errors import UsageError
from sfpo.model import cpu
from sfpo.model.label import model_label
from sfpo.model.load import load_model, load_tokenizer
from sfpo.records.run import COMPLETIONS, METRICS
from sfpo.tasks import Task, load_task
from sfpo.training import cost
from sfpo.training.benchmarks import TrainingBenchmarks
from sfpo.training.held_out import Evaluation, as_prompts, evaluate
from sfpo.training.options import Parsed, parse
from sfpo.training.progress import ProgressCallback
from sfpo.training.records import MetricsCallback, RecordedReward, RunRecords
from sfpo.training.signals import SignalWarnings
from sfpo.trl import SFPOConfig, SFPOTrainer


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo train`; returns the exit code.

    Raises:
        UsageError: anything the user can mend, before the first training step.
    """
    quiet_libraries()
    parsed = parse(arguments)
    options, training, model_options = parsed.command, parsed.training, parsed.model
    console = Console(quiet=training.process_index != 0)
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
    prompts = training.generation_batch_size // training.num_generations
    if len(task.train) < prompts:
        raise UsageError(
            f"{task.name} has {len(task.train)} problems to train on, fewer than the {prompts} prompts of one batch: "
            "lower --per_device_train_batch_size or raise --num_generations"
        )
    if options.model.endswith(".gguf") and training.beta != 0 and not model_options.use_peft:
        raise UsageError(
            "--beta needs a second copy of the model, which a .gguf file cannot give: save it as a folder first, "
            "or add --use_peft"
        )
    if options.dry_run:
        _print_plan(console, parsed, task)
        return 0
    return _run(console, parsed, task, benchmarks, tokenizer, checkpoint)


def _run(
    console: Console,
    parsed: Parsed,
    task: Task,
    benchmarks: TrainingBenchmarks,
    tokenizer: Any,
    checkpoint: str | None,
) -> int:
    options, training, model_options = parsed.command, parsed.training, parsed.model
    folder = Path(training.output_dir)
    model = load_model(
        options.model,
        dtype=model_options.dtype,
        attn_implementation=model_options.attn_implementation,
        quantization_config=get_quantization_config(model_options),
        trust_remote_code=training.trust_remote_code or None,
        **(training.model_init_kwargs or {}),
    )
    weights = sum(parameter.numel() for parameter in model.parameters())
    machine = training.device.type
    if machine == "cpu":
        machine = cpu.prepare_cpu(
            model,
            model_options.attn_implementation,
            trains_in_bf16=training.bf16 and not training.use_transformers_continuous_batching,
        )
    machine += ", bf16" if training.bf16 else ", fp16" if training.fp16 else ", fp32"
    records = RunRecords(folder, training.process_index == 0)
    reward = RecordedReward(task.reward, records, options.completions_per_step)
    title = f"{options.method} · {model_label(options.model)} ({weights / 1e6:.1f} M weights) · {task.name}"
    progress = ProgressCallback(console, escape(title), reward)
    try:
        trainer = SFPOTrainer(
            model=model,
            reward_funcs=reward,
            args=training,
            train_dataset=as_prompts(tokenizer, task.train),
            processing_class=tokenizer,
            peft_config=get_peft_config(model_options),
            callbacks=[MetricsCallback(records), progress],
        )
    except (ValueError, ImportError) as error:
        # TRL refuses what it cannot do, or a package that an option needs, when the trainer is made.
        raise UsageError(" ".join(str(error).split())) from error
    trainer.add_callback(SignalWarnings(lambda text: console.print(f"[yellow]Warning:[/] {escape(text)}")))
    for printer in (PrinterCallback, TransformersProgress):
        trainer.remove_callback(printer)

    def measure(step: int) -> Evaluation:
        benchmarks.measure(step, trainer.accelerator.unwrap_model(trainer.model), tokenizer, records)
        known = records.evaluation_at(step)
        if known is not None:
            return known
        evaluation = evaluate(trainer, tokenizer, task, options.eval_batch_size)
        records.add_evaluation(step, evaluation)
        return evaluation

    if checkpoint is None:
        records.describe(parsed.effective(), weights=weights, machine=machine)
        console.print(f"{escape(title)} on {machine}", soft_wrap=True)
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
        progress.stop()
    trainer.save_model()
    after = measure(trainer.state.global_step)
    records.update_run(finished=time.time())
    _print_summary(console, folder, before, after, trainer)
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


def _print_plan(console: Console, parsed: Parsed, task: Task) -> None:
    console.print("[bold]Configuration[/] (what was chosen, and SFPO's own; the rest is as in TRL)")
    text = yaml.safe_dump(parsed.effective(), sort_keys=False, allow_unicode=True)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"[bold]Data[/]\n{len(task.train):,} problems to train on, {len(task.held_out):,} held out\n")
    console.print("[bold]Cost[/]" + (" (while the gate is open)" if parsed.training.gate != "off" else ""))
    for line in cost.estimate(parsed.training, len(task.train)).lines():
        console.print(line, highlight=False)


def _print_summary(
    console: Console, folder: Path, before: Evaluation, after: Evaluation, trainer: SFPOTrainer
) -> None:
    table = Table(title=f"{after.problems} held-out problems, sampled once each", title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("accuracy", f"{before.accuracy:.1%}", f"{after.accuracy:.1%}")
    table.add_row("response length (tokens)", f"{before.mean_length:.1f}", f"{after.mean_length:.1f}")
    table.add_row("cut off", f"{before.cut_off:.1%}", f"{after.cut_off:.1%}")
    console.print(table)
    console.print(
        f"{trainer.rollouts:,} rollouts in {trainer.state.global_step} steps.\n"
        f"Model        {folder}\n"
        f"Metrics      {folder / METRICS}\n"
        f"Completions  {folder / COMPLETIONS}\n",
        highlight=False,
        soft_wrap=True,
    )
    # As it was called, where it is not on the path: in a virtual environment that is not activated, for one.
    sfpo = "sfpo" if shutil.which("sfpo") else sys.argv[0]
    if trainer.args.alpha > 0:
        console.print(
            f"Next: see what plain GRPO makes of the same prompts:  [bold]{sfpo} train --method grpo[/]\n"
            f"or what a real model would cost:  [bold]{sfpo} train --model Qwen/Qwen2.5-0.5B-Instruct "
            "--task gym:countdown --max_steps 200 --dry_run[/]",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(f"Next: the slow-fast update on the same prompts:  [bold]{sfpo} train[/]", highlight=False)
