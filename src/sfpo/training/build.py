"""From the options of a run to its trainer: the model set up for this machine, the task, the records and the display."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from transformers import PrinterCallback
from transformers import ProgressCallback as TransformersProgress
from trl import get_peft_config, get_quantization_config

from sfpo import __version__
from sfpo.errors import UsageError
from sfpo.model import cpu
from sfpo.model.embedded import EMBEDDED
from sfpo.model.label import model_label
from sfpo.model.load import load_model, longest_readable
from sfpo.model.source import refuse_longer
from sfpo.tasks import Task
from sfpo.training.held_out import as_prompts
from sfpo.training.options import Parsed
from sfpo.training.progress import ProgressCallback
from sfpo.training.records import MetricsCallback, RecordedReward, RunRecords
from sfpo.training.signals import SignalWarnings
from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.host import Host
from sfpo.trl.model_card import CardFacts


@dataclass(frozen=True)
class Built:
    """A run that is ready to start.

    Args:
        weights: how many the model has.
        machine: what it trains on, and how, in words.
        title: the run in one line, without markup.
    """

    trainer: SFPOTrainer
    records: RunRecords
    progress: ProgressCallback
    weights: int
    machine: str
    title: str


def check_room(model: str, training: SFPOConfig) -> None:
    """Refuse completions that are longer than the model can read.

    Raises:
        UsageError: naming the model's limit.
    """
    if not {"config", "max_position_embeddings", "rope_parameters"} & (training.model_init_kwargs or {}).keys():
        limit = longest_readable(model, training.trust_remote_code)
        refuse_longer(model, training.max_completion_length, limit)


def build(console: Console, parsed: Parsed, task: Task, tokenizer: Any) -> Built:
    """Load the model and make the trainer.

    Raises:
        UsageError: what the model or TRL refuses.
    """
    options, training = parsed.command, parsed.training
    model = _model(parsed)
    weights = sum(parameter.numel() for parameter in model.parameters())
    machine = _set_up_machine(model, parsed)
    records = RunRecords(Path(training.output_dir), training.process_index == 0)
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
            peft_config=get_peft_config(parsed.model),
            callbacks=[MetricsCallback(records), progress],
        )
    except (ValueError, ImportError) as error:
        # TRL refuses what it cannot do, or a package that an option needs, when the trainer is made.
        raise UsageError(" ".join(str(error).split())) from error
    reward.ends = frozenset(Host.of(trainer).end_ids)
    trainer.add_callback(SignalWarnings(lambda text: console.print(f"[yellow]Warning:[/] {escape(text)}")))
    trainer.card_facts = _card_facts(options.model, task.name)
    for printer in (PrinterCallback, TransformersProgress):
        trainer.remove_callback(printer)
    return Built(trainer, records, progress, weights, machine, title)


def _card_facts(model: str, task: str) -> CardFacts:
    """For the model card, which may be published: no path of this machine."""
    reproduce = f"pip install 'sfpo[trl]=={__version__}'\nsfpo train --config config.yaml --output_dir again"
    if model == EMBEDDED:
        return CardFacts("the model of 0.9 M weights in the package sfpo", False, task, reproduce)
    if Path(model).exists():
        return CardFacts(f"the local model {model_label(model)}", False, task, reproduce)
    return CardFacts(model, True, task, reproduce)


def _model(parsed: Parsed) -> Any:
    options, training, model_options = parsed.command, parsed.training, parsed.model
    return load_model(
        options.model,
        dtype=model_options.dtype,
        attn_implementation=model_options.attn_implementation,
        quantization_config=get_quantization_config(model_options),
        trust_remote_code=training.trust_remote_code,
        **(training.model_init_kwargs or {}),
    )


def _set_up_machine(model: Any, parsed: Parsed) -> str:
    """Set this process and the model up for the device, and say in words what was chosen."""
    training = parsed.training
    machine: str = training.device.type
    if machine == "cpu":
        machine = cpu.prepare_cpu(
            model,
            parsed.model.attn_implementation,
            trains_in_bf16=training.bf16 and not training.use_transformers_continuous_batching,
        )
    return machine + (", bf16" if training.bf16 else ", fp16" if training.fp16 else ", fp32")
