"""Trainers that take one rollout batch at a time, on rollouts of a chosen shape, for workers of the benchmarks."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import Requests, in_bf16
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from trl import GRPOConfig, GRPOTrainer

from sfpo.model import cpu
from sfpo.model.load import load_model, load_tokenizer
from sfpo.training.options import parse
from sfpo.training.records import MetricsCallback, RecordedReward, RunRecords
from sfpo.trl import SFPOConfig, SFPOTrainer

FOREVER = 1_000_000
NEVER_SAMPLED = 10_000_000
"""A token id that is in no vocabulary."""


class Shape:
    """Rollouts of known cost: distinct prompts and completions, each of one length, with chosen rewards."""

    def __init__(self, prompts: int, group: int, prompt_tokens: int, completion_tokens: int) -> None:
        self.prompts, self.group = prompts, group
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens
        self.zero_share = 0.0
        """Share of groups whose completions all earn 0."""

    def rewards(self, completions: list[Any], **columns: Any) -> list[float]:
        """Rewards: 0 in the first groups of the batch, alternating 0 and 1 within the others."""
        zero_groups = round(self.zero_share * self.prompts)
        return [float(i // self.group >= zero_groups and i % 2) for i in range(len(completions))]

    def impose(self, trainer: GRPOTrainer) -> None:
        """Give the trainer prompts of random tokens, and completions that go on to the limit."""
        vocabulary = trainer.model.config.vocab_size
        generator = random.Random(0)
        prompts: dict[str, list[int]] = {}

        def tokenize(names: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            for name in names:
                if name not in prompts:
                    prompts[name] = [generator.randrange(2, vocabulary) for _ in range(self.prompt_tokens)]
            return [prompts[name] for name in names], None, {}

        trainer._tokenize_prompts = tokenize
        trainer.eos_token_ids = [NEVER_SAMPLED]
        trainer.generation_config.eos_token_id = [NEVER_SAMPLED]
        trainer.generation_kwargs["eos_token_id"] = [NEVER_SAMPLED]

    @property
    def settings(self) -> dict[str, Any]:
        """Sizes of the batch, and a temperature at which hardly any two completions are equal: SFPO scores equal ones once."""
        return {
            "per_device_train_batch_size": self.prompts * self.group,
            "num_generations": self.group,
            "max_completion_length": self.completion_tokens,
            "temperature": 10.0,
        }

    @property
    def data(self) -> Dataset:
        return Dataset.from_dict({"prompt": [str(number) for number in range(4096)]})


def quiet() -> dict[str, Any]:
    """Settings that stop a trainer from printing, saving and reporting; none of these is part of a step."""
    return {
        "output_dir": tempfile.mkdtemp(prefix="sfpo-benchmark-"),
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
    }


def trl_defaults(model: str, reward: Any, data: Dataset, **settings: Any) -> GRPOTrainer:
    """TRL with its default precision, checkpointing and threads; only `settings` are chosen."""
    return _without_printing(
        GRPOTrainer(
            model=load_model(model),
            reward_funcs=reward,
            args=GRPOConfig(**quiet(), **settings),
            train_dataset=data,
            processing_class=load_tokenizer(model),
        )
    )


def sfpo_defaults(model: str, reward: Any, data: Dataset, **settings: Any) -> SFPOTrainer:
    """The trainer that `sfpo train` builds for the model, with the files it writes and without its display."""
    flags = [f"--{name}={value}" for name, value in (quiet() | settings).items()]
    arguments = parse(["--model", model, *flags]).training
    policy = load_model(model)
    cpu.prepare_cpu(policy, trains_in_bf16=arguments.bf16)
    records = RunRecords(Path(arguments.output_dir), True)
    return _without_printing(
        SFPOTrainer(
            model=policy,
            reward_funcs=RecordedReward(reward, records, 16),
            args=arguments,
            train_dataset=data,
            processing_class=load_tokenizer(model),
            callbacks=[MetricsCallback(records)],
        )
    )


def same_settings(kind: str, model: str, reward: Any, data: Dataset, **settings: Any) -> GRPOTrainer:
    """SFPO or stock TRL with the arithmetic, threads and memory settings that `sfpo train` would choose.

    Args:
        kind: "sfpo", or "grpo" for TRL's own trainer.
    """
    policy = load_model(model)
    cpu.prepare_cpu(policy, trains_in_bf16=in_bf16(model))
    common = quiet() | {"bf16": in_bf16(model), "gradient_checkpointing": False, "logging_steps": 1} | settings
    trainer_class, config = (
        (SFPOTrainer, SFPOConfig(**({"gate": "off"} | common)))
        if kind == "sfpo"
        else (GRPOTrainer, GRPOConfig(**common))
    )
    return _without_printing(
        trainer_class(
            model=policy,
            reward_funcs=reward,
            args=config,
            train_dataset=data,
            processing_class=load_tokenizer(model),
        )
    )


def weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _without_printing(trainer: GRPOTrainer) -> GRPOTrainer:
    trainer.remove_callback(PrinterCallback)
    return trainer


class Turns(TrainerCallback):
    """Makes a trainer wait for the parent before each rollout batch, and report how long the batch took.

    A batch is all of the trainer's work until the next wait: sampling, grading, passes, metrics and logging. Its rollout
    part is TRL's `_generate`; the rest is the update.
    """

    def __init__(self, trainer: GRPOTrainer, requests: Requests, shape: Shape | None = None) -> None:
        self._requests = requests
        self._shape = shape
        self._steps_per_batch = trainer.num_iterations * max(
            1, trainer.args.steps_per_generation // trainer.args.gradient_accumulation_steps
        )
        self._started = 0.0
        self._rollout = 0.0
        self._profile: torch.profiler.profile | None = None
        self._generate = trainer._generate
        trainer._generate = self._timed_generate
        trainer.add_callback(self)
        self.trainer = trainer

    def _timed_generate(self, prompts: list[Any]) -> Any:
        started = time.perf_counter()
        result = self._generate(prompts)
        self._rollout += time.perf_counter() - started
        return result

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self._steps_per_batch == 0:
            if state.global_step:
                self._report()
            self._wait()

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._report()

    def between(self, step: int) -> dict[str, Any]:
        """Measurements after a batch, with the clock stopped."""
        return {}

    def _report(self) -> None:
        seconds, rollout = time.perf_counter() - self._started, self._rollout
        step = self.trainer.state.global_step
        answer = {"step": step, "seconds": seconds, "rollout_seconds": rollout, **self.between(step)}
        if self._profile is not None:
            self._profile.stop()
            answer["profile"] = largest_operations(self._profile)
            self._profile = None
        self._requests.answer(**answer)

    def _wait(self) -> None:
        request = self._requests.next()
        if request is None:
            sys.exit()
        if self._shape is not None:
            self._shape.zero_share = request["zero_share"]
        if request.get("profile"):
            self._profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
            self._profile.start()
        self._rollout, self._started = 0.0, time.perf_counter()


def largest_operations(profile: torch.profiler.profile, count: int = 25) -> list[dict[str, Any]]:
    """The operations that took most of the time, without their callees."""
    events = sorted(profile.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operation": event.key,
            "calls": event.count,
            "seconds": round(event.self_cpu_time_total / 1e6, 4),
            "share": round(event.self_cpu_time_total / total, 4),
        }
        for event in events[:count]
    ]


def facts(trainer: GRPOTrainer) -> dict[str, Any]:
    """The facts that a worker reports about itself when it is ready."""
    args = trainer.args
    return {
        "threads": torch.get_num_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "bf16_autocast": bool(args.bf16),
        "gradient_checkpointing": bool(args.gradient_checkpointing),
        "weights": weights(trainer.model),
        "weights_dtype": str(next(trainer.model.parameters()).dtype),
        "rows_a_micro_batch": args.per_device_train_batch_size,
        "logging_steps": args.logging_steps,
    }
