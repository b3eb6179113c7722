"""What each process of an engine test does: trains scenario after scenario and saves what came of it.

    python -m torch.distributed.run --nproc_per_node 2 tests/engines/worker.py MODEL FOLDER SCENARIO ...

Completions are drawn from a seed of their own place in the whole batch, so that any number of processes trains on the same
rollouts.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from fake_vllm import FakeServer
from peft import LoraConfig
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.generation import vllm_generation

from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.scoring import Scorer
from sfpo.trl.step import SFPOStep

PROMPTS = [f"{a}+{b}=" for a in range(4) for b in range(6)]
ROWS_A_STEP = 16

SETTINGS: dict[str, Any] = {
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "max_steps": 2,
    "lr_scheduler_type": "linear",
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}


def reward_low_digits(completions: list[str], **columns: Any) -> list[float]:
    return [sum(character in "012" for character in c) / max(1, len(c)) for c in completions]


def reward_low_start(completions: list[str], **columns: Any) -> list[float]:
    """The same for all completions of many a prompt."""
    return [float(c[:1] in {"0", "1"}) for c in completions]


class Scripted:
    """Completions that do not depend on the policy, nor on how the batch is spread over processes."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        if self.use_vllm:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        # With these seeds the entropy rises from the first step to the second on rank 0, and falls on rank 1.
        first = 136_000 + 100 * self.state.global_step + self.accelerator.process_index * len(prompt_ids)
        return [self._completion(first + row) for row in range(len(prompt_ids))], None

    def _completion(self, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        length = int(torch.randint(2, 7, (), generator=generator))
        return torch.randint(3, len(self.processing_class), (length,), generator=generator).tolist()


class WatchedStep(SFPOStep):
    """Notes θ_0, θ_K, θ̃ and what the slow pass starts from, in every SFPO step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stages: list[dict[str, Any]] = []
        self.own_entropies: list[float] = []
        """Of this process's own completions, which α must not depend on alone."""

    def entropy_at_start(self, batch: Any) -> float | None:
        reduce = self._log.reduce

        def noted(sums: torch.Tensor) -> torch.Tensor:
            self.own_entropies.append(float(sums[0] / sums[1]))
            return reduce(sums)

        with mock.patch.object(self._log, "reduce", noted):
            return super().entropy_at_start(batch)

    def _take_trajectory(self, batch: Any, rule: Any) -> None:
        self.stages.append({"start": masters(self._trainer.model)})
        super()._take_trajectory(batch, rule)

    def _fast_pass(self, batch: Any, rule: Any) -> Any:
        measured = super()._fast_pass(batch, rule)
        if self._fast_passes == self._trainer.args.inner_steps:
            self.stages[-1]["end"] = masters(self._trainer.model)
        return measured

    def _gradient(self, mini_batch: Any) -> None:
        # Overwritten by each call: the last one is the slow pass's.
        model = self._trainer.model
        self.stages[-1] |= {"repositioned": masters(model), "forward": whole_weights(model)}
        super()._gradient(mini_batch)


class InjectedError(Exception):
    pass


class InterruptedStep(WatchedStep):
    """Fails when two fast passes have been made."""

    def _fast_pass(self, batch: Any, rule: Any) -> Any:
        measured = super()._fast_pass(batch, rule)
        if self._fast_passes == 2:
            raise InjectedError
        return measured


class WatchedScorer(Scorer):
    """Notes the rows of each forward that compact passes make."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows_scored: list[int] = []

    def score_rows(self, model: torch.nn.Module, rows: Any) -> Any:
        self.rows_scored.append(len(rows.completion_ids))
        return super().score_rows(model, rows)


class SFPO(Scripted, SFPOTrainer):
    step_class = WatchedStep

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with (
            mock.patch("sfpo.trl.trainer.SFPOStep", self.step_class),
            mock.patch("sfpo.trl.trainer.Scorer", WatchedScorer),
        ):
            super().__init__(*args, **kwargs)
        self.stages, self.own_entropies = self._sfpo_step.stages, self._sfpo_step.own_entropies
        self.rows_scored = self._scorer.rows_scored


class InterruptedSFPO(SFPO):
    step_class = InterruptedStep


class GRPO(Scripted, GRPOTrainer):
    pass


class Rates(TrainerCallback):
    """The learning rate of every optimizer step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        self.values: list[float] = []
        first = optimizer.param_groups[0]

        def note(optimizer: Any, args: Any, kwargs: Any) -> None:
            # DeepSpeed steps one group of weights at a time.
            if optimizer.param_groups[0] is first and first["params"]:
                self.values.append(float(first["lr"]))

        optimizer.register_step_pre_hook(note)


class KilledInTheSave(TrainerCallback):
    """Kills one rank in the second save, before the first line of a function."""

    def __init__(self, rank: int, function: str) -> None:
        self._rank, self._function = rank, function

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2 and args.process_index == self._rank:
            from kills import kill_at_line

            kill_at_line(1, ("/nothing",), (self._function,))


def run(model: str, folder: Path, engine: str, method: str, **settings: Any) -> dict[str, Any]:
    """Train one scenario in this process, which may be one of several."""
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    PartialState._reset_state()
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    lora = settings.pop("lora", None)
    reward = settings.pop("reward", reward_low_digits)
    resume = settings.pop("resume", None)
    if resume is not None:
        resume = str(folder.parent / resume / "checkpoint-2")
    killed = settings.pop("killed", None)
    if (continued := settings.pop("continued", None)) is not None:
        folder, resume = folder.parent / continued, True
    if not engine.startswith("zero"):
        settings = {name: value for name, value in settings.items() if name not in ("zero", "deepspeed")}
    settings = {**SETTINGS, "per_device_train_batch_size": ROWS_A_STEP // 2 // processes, **settings}
    if engine.startswith("zero"):
        zero = {"stage": int(engine[-1]), **settings.pop("zero", {})}
        if zero["stage"] == 3:
            # Some of the tiny model's weights are kept whole, most are not.
            zero = {
                "stage3_param_persistence_threshold": 100,
                "stage3_gather_16bit_weights_on_model_save": True,
            } | zero
        auto = (
            "train_micro_batch_size_per_gpu",
            "gradient_accumulation_steps",
            "gradient_clipping",
            "train_batch_size",
        )
        config = {"zero_optimization": zero, "bf16": {"enabled": True}} | dict.fromkeys(auto, "auto")
        # Beside a GPU none of this is needed: accelerate chooses its own backend, and transformers takes bf16.
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        PartialState(backend="gloo")
        config |= settings.pop("deepspeed", {})
        settings |= {"accelerator_config": {"use_configured_state": True}, "use_cpu": True, "deepspeed": config}
        settings["bf16"] = config["bf16"]["enabled"]
    elif engine == "fsdp2":
        # accelerate shards on accelerators only; this one is a CPU to everything else.
        PartialState(cpu=True, backend="gloo")
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        settings |= {
            "accelerator_config": {"use_configured_state": True},
            "fsdp": True,
            "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": ["Qwen2DecoderLayer"]},
        }
    else:
        settings |= {"use_cpu": True, "ddp_backend": "gloo" if processes > 1 else None}
    trainer_class = {"grpo": GRPO, "sfpo": SFPO, "interrupted": InterruptedSFPO}[method]
    config_class = GRPOConfig if method == "grpo" else SFPOConfig
    if method != "grpo":
        settings = {"compact_passes": False, "compact_rollouts": False, "gate": "off"} | settings
    rates, vllm_events = Rates(), []
    if settings.get("use_vllm"):
        vllm_generation.is_vllm_available = lambda *_: True
        vllm_generation.VLLMClient = FakeServer(vllm_events)
    trainer = trainer_class(
        model=model,
        reward_funcs=reward,
        args=config_class(output_dir=str(folder), **settings),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        callbacks=[rates, *([KilledInTheSave(*killed)] if killed else [])],
        peft_config=lora and LoraConfig(**lora),
    )
    with suppress(InjectedError):
        trainer.train(resume_from_checkpoint=resume)
    return {
        "weights": whole_weights(trainer.model),
        "masters": masters(trainer.model),
        "stages": getattr(trainer, "stages", None),
        "log": trainer.state.log_history,
        "own_entropies": getattr(trainer, "own_entropies", None),
        "rows_scored": getattr(trainer, "rows_scored", None),
        "rates": rates.values,
        "folder": folder,
        "synced": [weights for what, weights in vllm_events if what == "sync"],
    }


@torch.no_grad()
def whole_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the forward uses, put together from all processes."""
    return {name: whole(weight).detach().clone() for name, weight in model.named_parameters()}


def whole(weight: torch.Tensor) -> torch.Tensor:
    if isinstance(weight, DTensor):
        return weight.full_tensor()
    if not hasattr(weight, "ds_tensor") or weight.ds_status.name == "AVAILABLE":
        return weight
    # ZeRO-3. Its own gathering would change what is gathered when the forward comes.
    shards = [torch.empty_like(weight.ds_tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(shards, weight.ds_tensor.contiguous())
    return torch.cat(shards)[: weight.ds_numel].view(weight.ds_shape)


def masters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the optimizer steps from, gathered from all processes."""
    if not any(hasattr(weight, "ds_id") or hasattr(weight, "_hp_mapping") for weight in model.parameters()):
        return whole_weights(model)
    from deepspeed.utils import safe_get_full_fp32_param

    return {n: safe_get_full_fp32_param(w).clone() for n, w in model.named_parameters() if w.requires_grad}


# Adam makes a step of full length of a gradient that is nothing but rounding; SGD does not.
SGD = {"optim": "sgd", "learning_rate": 0.1}
# Without clipping, a ratio that bf16 moves across its bound does not switch a token's gradient off.
SMOOTH = {"optim": "sgd", "learning_rate": 0.03, "epsilon": 10.0}
GATE = {"gate": "reversible", "gate_sides": "upper", "entropy_window": 2, "entropy_threshold": 0.5}
SOME_IDLE = {"method": "sfpo", "reward": reward_low_start}
COMPACT = SOME_IDLE | {"compact_passes": True}
LORA = {"r": 4, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}
MINI_BATCHES = {"steps_per_generation": 4}
# A rate at which the trajectory stays inside the region, and one at which its first pass leaves it.
AUTO = {"method": "sfpo", "alpha": "auto", "optim": "sgd", "learning_rate": 1e-3}
OUTSIDE = AUTO | {"learning_rate": 1.0, "max_steps": 3}
GXPO = {"method": "sfpo", "gxpo_moments": "restored", "inner_steps": 5, "alpha": 0.5}
EPOCHS = {"lr_scheduler_type": "constant", "max_steps": 1}
SAVING = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
CPU = {"device": "cpu", "pin_memory": False}
OFFLOADED = {"zero": {"offload_optimizer": CPU}, "deepspeed": {"zero_force_ds_cpu_optimizer": False}}
FP32 = {"bf16": {"enabled": False}}
ONE_BATCH = {"engine": "zero2", "optim": "sgd", "learning_rate": 0.03, "lr_scheduler_type": "constant", "max_steps": 1}
OWN_SCHEDULE = {
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "weight_decay": "auto", "torch_adam": True}},
    "scheduler": {
        "type": "WarmupLR",
        "params": {"warmup_min_lr": 1e-3, "warmup_max_lr": "auto", "warmup_num_steps": "auto"},
    },
}

SCENARIOS: dict[str, dict[str, Any]] = {
    "ddp": {"engine": "ddp", "method": "sfpo"} | SGD | GATE,
    "ddp_mini_batches": {"engine": "ddp", "method": "sfpo"} | MINI_BATCHES,
    "ddp_closed": {"engine": "ddp", "method": "sfpo", "alpha": 0.0},
    "ddp_grpo": {"engine": "ddp", "method": "grpo"},
    "ddp_remax": {"engine": "ddp", "method": "sfpo", "advantage_estimator": "remax"} | SGD,
    "ddp_lora": {"engine": "ddp", "method": "sfpo", "lora": LORA, "max_steps": 1},
    "fsdp2": {"engine": "fsdp2", "method": "sfpo"} | SGD | GATE,
    "fsdp2_lora": {"engine": "fsdp2", "method": "sfpo", "lora": LORA, "max_steps": 1},
    "ddp_some_idle": {"engine": "ddp"} | SOME_IDLE | SGD,
    "ddp_compact": {"engine": "ddp"} | COMPACT | SGD,
    "ddp_some_idle_mini_batches": {"engine": "ddp"} | SOME_IDLE | SGD | MINI_BATCHES,
    "ddp_compact_mini_batches": {"engine": "ddp"} | COMPACT | SGD | MINI_BATCHES,
    "fsdp2_compact": {"engine": "fsdp2"} | COMPACT | SGD,
    "ddp_gxpo": {"engine": "ddp"} | GXPO | SGD,
    "fsdp2_gxpo": {"engine": "fsdp2"} | GXPO | SGD,
    "fsdp2_gxpo_adam": {"engine": "fsdp2"} | GXPO | MINI_BATCHES,
    "ddp_auto": {"engine": "ddp"} | AUTO,
    "ddp_auto_outside": {"engine": "ddp"} | OUTSIDE,
    "ddp_auto_mini_batches": {"engine": "ddp"} | AUTO | MINI_BATCHES,
    "fsdp2_auto": {"engine": "fsdp2"} | AUTO,
    "fsdp2_auto_outside": {"engine": "fsdp2"} | OUTSIDE,
    **{f"{zero}_auto": {"engine": zero, "deepspeed": FP32} | AUTO for zero in ("zero1", "zero2", "zero3")},
    **{f"{zero}_auto_outside": {"engine": zero, "deepspeed": FP32} | OUTSIDE for zero in ("zero1", "zero2", "zero3")},
    "zero1": {"engine": "zero1", "method": "sfpo"} | SMOOTH,
    "zero1_fp32": {"engine": "zero1", "method": "sfpo", "deepspeed": FP32} | SGD,
    "zero1_own_schedule": {
        "engine": "zero1",
        "method": "sfpo",
        "deepspeed": OWN_SCHEDULE,
        "warmup_steps": 4,
        "max_steps": 3,
    },
    "zero2": {"engine": "zero2", "method": "sfpo"} | SMOOTH,
    "zero2_fp32": {"engine": "zero2", "method": "sfpo", "deepspeed": FP32} | SGD,
    "zero2_closed": {"engine": "zero2", "method": "sfpo", "alpha": 0.0},
    "zero2_grpo": {"engine": "zero2", "method": "grpo"},
    "zero2_alpha_one": {"engine": "zero2", "method": "sfpo", "alpha": 1.0} | EPOCHS,
    "zero2_epochs": {"engine": "zero2", "method": "grpo", "num_iterations": 4} | EPOCHS | {"max_steps": 4},
    "zero2_saved": {"engine": "zero2", "method": "sfpo"} | SAVING,
    "zero2_resumed": {"engine": "zero2", "method": "sfpo", "resume": "zero2_saved"} | SAVING,
    "zero2_offloaded": {"engine": "zero2", "method": "sfpo", "max_steps": 1} | OFFLOADED,
    "zero2_interrupted": {"engine": "zero2", "method": "interrupted"},
    "zero3_interrupted": {"engine": "zero3", "method": "interrupted"},
    "zero3": {"engine": "zero3", "method": "sfpo"} | SMOOTH,
    "zero3_fp32": {"engine": "zero3", "method": "sfpo", "deepspeed": FP32} | SGD,
    "zero2_compact": {"engine": "zero2", "deepspeed": FP32} | COMPACT | SGD,
    "zero3_compact": {"engine": "zero3", "deepspeed": FP32} | COMPACT | SGD,
    "zero3_mini_batches": {"engine": "zero3", "method": "sfpo", "gradient_checkpointing": True} | MINI_BATCHES,
    "zero3_closed": {"engine": "zero3", "method": "sfpo", "alpha": 0.0},
    "zero3_grpo": {"engine": "zero3", "method": "grpo"},
    "zero3_saved": {"engine": "zero3", "method": "sfpo"} | SAVING,
    "zero3_resumed": {"engine": "zero3", "method": "sfpo", "resume": "zero3_saved"} | SAVING,
    "zero3_offloaded": {
        "engine": "zero3",
        "method": "sfpo",
        "max_steps": 1,
        "zero": {"offload_optimizer": CPU, "offload_param": CPU, "stage3_param_persistence_threshold": 100_000},
        "deepspeed": {"zero_force_ds_cpu_optimizer": False},
    },
    "zero3_vllm": {"engine": "zero3", "method": "sfpo", "use_vllm": True, "vllm_mode": "server"},
    "zero3_lora": {"engine": "zero3", "method": "sfpo", "lora": LORA, "max_steps": 1},
}

ONE_LEFT = {"engine": "ddp", "method": "sfpo"} | SGD | GATE | SAVING | {"save_steps": 1, "save_total_limit": 1}
SCENARIOS["saved"] = ONE_LEFT
# Rank 1 in what only it writes, rank 0 when all is written but not yet in its place.
for rank, function in ((1, "_save_rng_state"), (0, "_put")):
    SCENARIOS[f"killed_{rank}"] = ONE_LEFT | {"killed": (rank, function)}
    SCENARIOS[f"continued_{rank}"] = ONE_LEFT | {"continued": f"killed_{rank}"}

for name, epsilon in (("clipped", 0.2), ("unclipped", 10.0)):
    common = ONE_BATCH | {"epsilon": epsilon}
    SCENARIOS[f"zero2_once_{name}"] = {"method": "grpo"} | common
    SCENARIOS[f"zero2_epochs_{name}"] = {"method": "grpo", "num_iterations": 4} | common | {"max_steps": 4}
    SCENARIOS[f"zero2_sfpo_{name}"] = {"method": "sfpo"} | common


def main(model: str, folder: str, *names: str) -> None:
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    for name in names:
        if rank == "0":
            print(f"scenario {name}", file=sys.stderr)
        result = run(model, Path(folder) / name, **SCENARIOS[name])
        torch.save(result, f"{folder}/{name}.{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
