"""What each process of an engine test does: trains scenario after scenario and saves what came of it.

    python -m torch.distributed.run --nproc_per_node 2 tests/engines/worker.py MODEL FOLDER SCENARIO ...

Completions are drawn from a seed of their own place in the whole batch, so that any number of processes trains on the same
rollouts.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from peft import LoraConfig
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.micro_batch import completion_tokens

PROMPTS = [f"{a}+{b}=" for a in range(4) for b in range(6)]
ROWS_A_STEP = 16

SETTINGS: dict[str, Any] = {
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "max_steps": 3,
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


class Scripted:
    """Completions that do not depend on the policy, nor on how the batch is spread over processes."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        first = 10_000 * self.state.global_step + self.accelerator.process_index * len(prompt_ids)
        return [self._completion(first + row) for row in range(len(prompt_ids))], None

    def _completion(self, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        length = int(torch.randint(2, 7, (), generator=generator))
        return torch.randint(3, len(self.processing_class), (length,), generator=generator).tolist()


class SFPO(Scripted, SFPOTrainer):
    """Notes what a trajectory did on this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: dict[str, list[float]] = {"alphas": [], "own_entropies": []}

    def _decide_alpha(self, batch: Any) -> float:
        alpha = super()._decide_alpha(batch)
        micro_batches = [inputs for mini_batch in batch for inputs in mini_batch]
        own = torch.cat([inputs["entropies_at_start"][completion_tokens(inputs).bool()] for inputs in micro_batches])
        self.notes["alphas"].append(alpha)
        self.notes["own_entropies"].append(own.mean().item())
        return alpha


class Rates(TrainerCallback):
    """The learning rate of every optimizer step, those of the passes too."""

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        self.seen: list[float] = []
        optimizer.register_step_pre_hook(lambda *_: self.seen.append(float(optimizer.param_groups[0]["lr"])))


def run(model: str, folder: Path, name: str, engine: str, **settings: Any) -> dict[str, Any]:
    """Train one scenario in this process, which may be one of several."""
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    PartialState._reset_state()
    processes = int(os.environ.get("WORLD_SIZE", 1))
    lora = settings.pop("lora", None)
    settings = {**SETTINGS, "per_device_train_batch_size": ROWS_A_STEP // 2 // processes, **settings}
    if engine == "fsdp2":
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
    settings = {"compact_passes": False, "compact_rollouts": False, "gate": "off"} | settings
    rates = Rates()
    trainer = SFPO(
        model=model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(output_dir=str(folder / name), **settings),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        callbacks=[rates],
        peft_config=lora and LoraConfig(**lora),
    )
    trainer.train()
    return {
        "weights": whole_weights(trainer.model),
        "log": trainer.state.log_history,
        "rates": rates.seen,
        **trainer.notes,
    }


@torch.no_grad()
def whole_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach().clone()
        for name, weight in model.named_parameters()
    }


# Adam would make whole steps of the rounding in gradients that are zero, such as a key bias's.
GATED = {
    "optim": "sgd",
    "learning_rate": 0.1,
    "gate": "reversible",
    "entropy_window": 4,
    "entropy_threshold": 0.9,
    "max_steps": 6,
}
LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {"engine": "plain", **GATED},
    "lora": {"engine": "plain", "lora": LORA, "max_steps": 2},
    "fsdp2": {"engine": "fsdp2", **GATED},
    "fsdp2_lora": {"engine": "fsdp2", "lora": LORA, "max_steps": 2},
}


def main(model: str, folder: str, *names: str) -> None:
    torch.set_num_threads(1)
    rank = os.environ.get("RANK", "0")
    for name in names:
        result = run(model, Path(folder), name, **SCENARIOS[name])
        torch.save(result, f"{folder}/{name}.{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
