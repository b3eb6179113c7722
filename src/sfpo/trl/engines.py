"""What the slow-fast update must know of the engine: which weights its optimizer steps from, and how it steps.

| engine | the optimizer steps from | the forward uses | a step is made by |
|---|---|---|---|
| one process, DDP | the model's weights | the same | `optimizer.step` |
| FSDP2 | DTensors, a shard a process | the same | `optimizer.step` |
| DeepSpeed ZeRO-1, -2 | flat fp32 shards | bf16 weights, whole on every process | `engine.step` |
| DeepSpeed ZeRO-3 | flat fp32 shards | bf16 shards, gathered layer by layer, small weights kept whole | `engine.step` |

accelerate hides DeepSpeed's step in `backward` and makes `optimizer.step` a no-op. Here `backward` leaves the step out, so
that the trajectory starts where it does everywhere else: with the gradient of pass 0 at hand and the weights at θ_0.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.utils import DistributedType
from accelerate.utils.deepspeed import DeepSpeedEngineWrapper  # accelerate.utils itself has it beside DeepSpeed only
from torch import Tensor
from torch.distributed.fsdp import CPUOffloadPolicy

from sfpo.slow_fast import SlowFastReport
from sfpo.trl.host import is_distributed_by_transformers

_SINGLE_COPY = {
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.MULTI_NPU,
    DistributedType.MULTI_XPU,
}


class Engine:
    """One process, DDP or FSDP2: the optimizer steps from the weights that the forward uses."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def start(self) -> None:
        """The trainer has prepared its model and its optimizer, and training begins.

        Raises:
            ValueError: the optimizer keeps weights of its own, or steps where no trajectory can follow it.
        """
        kinds = type(self._trainer.optimizer.optimizer).__mro__
        for kind in kinds:
            if (why := _refused_optimizer(kind)) is not None:
                raise ValueError(why)

    def parameters(self) -> list[Tensor]:
        """What the optimizer steps from, on this process: what a trajectory copies and moves."""
        return [parameter for group in self._trainer.optimizer.param_groups for parameter in group["params"]]

    def refresh_forward(self) -> None:
        """Make the weights that the forward uses those of `parameters()`, which have been moved."""

    def accumulating(self) -> AbstractContextManager[Any]:
        """Surrounds the backward of every micro-batch but the last of a mini-batch."""
        accelerator = self._trainer.accelerator
        if accelerator.gradient_state.plugin_kwargs.get("sync_each_batch", False):
            return nullcontext()
        context: AbstractContextManager[Any] = accelerator.no_sync(model=self._trainer.model_wrapped)
        return context

    def fast_step(self) -> None:
        """One optimizer step of a fast pass; the learning rate stays that of the trainer's step."""
        self._trainer.optimizer.step()

    def leave_step_out(self) -> None:
        """Let the trainer's own next optimizer step change nothing."""
        # An optimizer passes over weights without a gradient.
        self._trainer.model_wrapped.zero_grad()

    def finish_step(self) -> None:
        """The trainer has made its own `optimizer.step`."""

    def drift(self, report: SlowFastReport) -> float:
        """‖θ_K - θ_0‖ / ‖θ_0‖ over the weights of all processes."""
        return report.drift


class _Zero(Engine):
    """DeepSpeed: flat fp32 masters, a shard of them on each process, from which the forward's weights are made.

    After an error inside a trajectory the masters are back at θ_0; the forward's weights, which only all processes
    together could gather, follow with the next step.
    """

    optimizer_class: str
    _held_rates: list[float] | None = None

    def start(self) -> None:
        self._held_rates = None
        self._deepspeed = self._trainer.model_wrapped
        self._optimizer = self._deepspeed.optimizer
        name = type(self._optimizer).__name__
        if name != self.optimizer_class:
            raise ValueError(
                f"SFPO does not know where DeepSpeed's {name} keeps its master weights: take the option that selects it "
                "out of the DeepSpeed configuration, for plain ZeRO"
            )
        self._trainer.accelerator.deepspeed_engine_wrapped = _BackwardOnly(self._deepspeed, self.grad_norm)

    def accumulating(self) -> AbstractContextManager[Any]:
        return nullcontext()  # the engine itself waits for the last micro-batch

    def fast_step(self) -> None:
        # A scheduler named in DeepSpeed's own configuration advances with every step of the engine.
        scheduler, self._deepspeed.lr_scheduler = self._deepspeed.lr_scheduler, None
        try:
            self._deepspeed.step()
        finally:
            self._deepspeed.lr_scheduler = scheduler

    def leave_step_out(self) -> None:
        # DeepSpeed steps from whatever it has gathered: its moments take the gradient at hand in, its weights stay.
        groups = self._trainer.optimizer.param_groups
        self._held_rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = 0.0

    def finish_step(self) -> None:
        self._deepspeed.step()
        if self._held_rates is not None:
            for group, rate in zip(self._trainer.optimizer.param_groups, self._held_rates, strict=True):
                group["lr"] = rate
            self._held_rates = None

    def drift(self, report: SlowFastReport) -> float:
        squares = torch.tensor([report.distance**2, report.start_norm**2], device=self._trainer.accelerator.device)
        distance, start = self._trainer.accelerator.reduce(squares, reduction="sum").tolist()
        return math.sqrt(distance / max(start, torch.finfo(torch.float32).tiny))

    def grad_norm(self) -> float:
        """Norm of the gradient that the next step will use, before clipping."""
        raise NotImplementedError


class _Zero12(_Zero):
    optimizer_class = "DeepSpeedZeroOptimizer"

    def parameters(self) -> list[Tensor]:
        return list(self._optimizer.single_partition_of_fp32_groups)

    def refresh_forward(self) -> None:
        self._optimizer.update_lp_params()

    def grad_norm(self) -> float:
        return float(self._optimizer.scaled_global_norm() / self._optimizer.loss_scale)


class _Zero3(_Zero):
    optimizer_class = "DeepSpeedZeroOptimizer_Stage3"

    def parameters(self) -> list[Tensor]:
        return list(self._optimizer.fp32_partitioned_groups_flat)

    @torch.no_grad()
    def refresh_forward(self) -> None:
        optimizer = self._optimizer
        pairs = zip(optimizer.fp16_partitioned_groups_flat, optimizer.fp32_partitioned_groups_flat, strict=True)
        for shard, master in pairs:
            shard.data.copy_(master.data)
        # Small weights stay whole on every process between steps, in a copy of their own.
        whole = optimizer.persistent_parameters
        if whole:
            whole[0].partition(whole)
            whole[0].all_gather(whole)

    def grad_norm(self) -> float:
        norms = [float(norm) for norm in self._optimizer._get_norm_groups()]
        return math.hypot(*norms) / float(self._optimizer.loss_scale)


class _BackwardOnly(DeepSpeedEngineWrapper):
    """accelerate's wrapper without the step at the end of `backward`."""

    def __init__(self, engine: Any, grad_norm: Any) -> None:
        super().__init__(engine)
        self.get_global_grad_norm = grad_norm  # the engine's own is known after its step only

    def backward(self, loss: Tensor, sync_gradients: bool, **kwargs: Any) -> None:
        self.engine.set_gradient_accumulation_boundary(is_boundary=sync_gradients)
        self.engine.backward(loss, **kwargs)


_SCHEDULE_FREE = "keeps a second sequence of weights, which a reposition would leave where it was"
_WITHIN_BACKWARD = "steps within the backward, before SFPO can act"


def refused_optim(name: str) -> str | None:
    """Why SFPO does not run with one of transformers' choices of `optim`, in a line; None if it does."""
    if name.startswith("schedule_free"):
        return _refused(name, _SCHEDULE_FREE)
    if name in ("lomo", "adalomo") or name.endswith("_layerwise"):
        return _refused(name, _WITHIN_BACKWARD)
    return None


def _refused_optimizer(kind: type) -> str | None:
    package = kind.__module__.partition(".")[0]
    if package == "schedulefree" or "ScheduleFree" in kind.__name__:
        return _refused(kind.__name__, _SCHEDULE_FREE)
    if package == "lomo_optim" or kind.__name__ == "LayerWiseDummyOptimizer":
        return _refused(kind.__name__, _WITHIN_BACKWARD)
    return None


def _refused(name: str, why: str) -> str:
    return f"SFPO does not run with the optimizer {name}, which {why}: use adamw_torch or another that steps from the weights"


FP16 = (
    "SFPO does not run in fp16, where a gradient that overflows skips its step, so that passes would be missing from a "
    "trajectory: use bf16"
)


def engine_of(trainer: Any) -> Engine:
    """The engine that a trainer runs on.

    Raises:
        ValueError: SFPO does not know, or cannot reach, the weights that this engine's optimizer steps from.
    """
    accelerator = trainer.accelerator
    kind = accelerator.distributed_type
    if accelerator.mixed_precision == "fp16":
        raise ValueError(FP16)
    if kind == DistributedType.NO and trainer.args.n_gpu > 1:
        raise ValueError(
            f"SFPO does not run on torch's DataParallel, which spreads one process over {trainer.args.n_gpu} GPUs: start one "
            "process for each with accelerate launch, or show it one GPU (CUDA_VISIBLE_DEVICES=0)"
        )
    devices = sorted({str(weight.device) for weight in trainer.model.parameters()})
    if kind in _SINGLE_COPY and len(devices) > 1:  # the other engines place weights themselves
        raise ValueError(
            f"SFPO does not run on a model that lies on several devices ({', '.join(devices)}), as device_map=auto places it: "
            "load it whole on one, or let accelerate shard it with fsdp_version: 2 or DeepSpeed ZeRO"
        )
    if is_distributed_by_transformers(trainer):
        raise ValueError(
            "SFPO does not run on a model that transformers has distributed itself (distributed_config): load it whole "
            "and let accelerate shard it, with fsdp_version: 2 or DeepSpeed ZeRO"
        )
    if kind == DistributedType.DEEPSPEED:
        return _zero(trainer, accelerator.state.deepspeed_plugin.deepspeed_config)
    if kind == DistributedType.FSDP and accelerator.is_fsdp2:
        if isinstance(accelerator.state.fsdp_plugin.cpu_offload, CPUOffloadPolicy):
            raise ValueError("SFPO does not move weights that FSDP2 offloads: set fsdp_offload_params: false")
        return Engine(trainer)
    if kind not in _SINGLE_COPY:
        name = "FSDP1 (set fsdp_version: 2)" if kind == DistributedType.FSDP else kind.value
        raise ValueError(
            f"SFPO does not know where {name} keeps the weights that its optimizer steps from, and moving the wrong "
            "copy would be silently undone: run on one process, DDP, FSDP2 or DeepSpeed ZeRO"
        )
    return Engine(trainer)


def _zero(trainer: Any, config: dict[str, Any]) -> Engine:
    zero = config.get("zero_optimization", {})
    stage = zero.get("stage", 0)
    if stage not in (1, 2, 3):
        raise ValueError(f"SFPO runs on DeepSpeed's ZeRO stages 1, 2 and 3, not on stage {stage}: use DDP instead")
    if config.get("fp16", {}).get("enabled") is True:
        raise ValueError(
            "SFPO does not run on DeepSpeed's fp16, which skips the steps whose gradient overflows, so that passes would "
            "be missing from a trajectory: use bf16"
        )
    for part in ("offload_optimizer", "offload_param"):
        if (zero.get(part) or {}).get("device") == "nvme":
            raise ValueError(
                f"SFPO does not move weights that DeepSpeed keeps on NVMe ({part}): offload to the cpu instead"
            )
    plain = {"zero_hpz_partition_size": 1, "zero_quantized_weights": False, "mics_shard_size": -1, "zenflow": None}
    if further := [key for key, value in plain.items() if zero.get(key, value) != value]:
        raise ValueError(
            f"SFPO does not know the copies of the weights that DeepSpeed makes for {further[0]}: leave it out of "
            "zero_optimization, for plain ZeRO"
        )
    if config.get("tensor_parallel", {}).get("autotp_size", 0) > 1:
        raise ValueError("SFPO does not run on DeepSpeed's tensor parallelism: leave autotp_size out, and use ZeRO-3")
    if trainer.args.gxpo_moments is not None:
        raise ValueError(
            "GXPO (gxpo_moments) needs the gradient of each weight, which DeepSpeed keeps elsewhere: run it on one process, "
            "DDP or FSDP2"
        )
    if not trainer.args.slow_correction or trainer.args.target_kl is not None:
        raise ValueError(
            "slow_correction=False and target_kl need optimizer steps without a gradient, which DeepSpeed does not make: "
            "run these ablations on one process, DDP or FSDP2"
        )
    return _Zero3(trainer) if stage == 3 else _Zero12(trainer)
