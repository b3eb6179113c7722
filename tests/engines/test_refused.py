"""An engine whose weights SFPO cannot reach is refused by name, with what to use instead."""

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch.distributed.fsdp import CPUOffloadPolicy

from sfpo.trl.engines import engine_of


def trainer(
    kind,
    config=None,
    offload=None,
    fsdp2=False,
    slow_correction=True,
    distributed=False,
    gxpo_moments=None,
    precision="bf16",
    gpus=1,
    devices=("cpu",),
):
    weights = [torch.zeros(1, device=device) for device in devices]
    state = SimpleNamespace(
        deepspeed_plugin=SimpleNamespace(deepspeed_config=config), fsdp_plugin=SimpleNamespace(cpu_offload=offload)
    )
    return SimpleNamespace(
        accelerator=SimpleNamespace(distributed_type=kind, is_fsdp2=fsdp2, state=state, mixed_precision=precision),
        model=SimpleNamespace(parameters=lambda: iter(weights)),
        is_distributed_loading_by_transformers=distributed,
        args=SimpleNamespace(slow_correction=slow_correction, target_kl=None, gxpo_moments=gxpo_moments, n_gpu=gpus),
    )


def zero(stage=2, **options):
    return {"zero_optimization": {"stage": stage, **options}}


DEEPSPEED = [
    ({}, "stage 0: use DDP"),
    (zero(0), "stage 0: use DDP"),
    (zero() | {"fp16": {"enabled": True}}, "fp16.*use bf16"),
    (zero(3, offload_optimizer={"device": "nvme"}), r"NVMe \(offload_optimizer\): offload to the cpu"),
    (zero(3, offload_param={"device": "nvme"}), r"NVMe \(offload_param\): offload to the cpu"),
    (zero(3, zero_hpz_partition_size=8), "zero_hpz_partition_size: leave it out"),
    (zero(3, zero_quantized_weights=True), "zero_quantized_weights: leave it out"),
    (zero(3, mics_shard_size=2), "mics_shard_size: leave it out"),
    (zero(zenflow={"topk_ratio": 0.05}), "zenflow: leave it out"),
    (zero() | {"tensor_parallel": {"autotp_size": 2}}, "tensor parallelism.*ZeRO-3"),
]


@pytest.mark.parametrize(("config", "message"), DEEPSPEED)
def test_deepspeed_configurations(config, message):
    with pytest.raises(ValueError, match=message) as refused:
        engine_of(trainer(DistributedType.DEEPSPEED, config))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": DistributedType.FSDP}, r"FSDP1 \(set fsdp_version: 2\)"),
        ({"kind": DistributedType.FSDP, "fsdp2": True, "offload": CPUOffloadPolicy()}, "fsdp_offload_params: false"),
        ({"kind": DistributedType.MEGATRON_LM}, "MEGATRON_LM.*run on one process, DDP, FSDP2 or DeepSpeed ZeRO"),
        ({"kind": DistributedType.XLA}, "XLA.*run on"),
        ({"kind": DistributedType.MULTI_GPU, "distributed": True}, "distributed_config.*let accelerate shard it"),
        ({"kind": DistributedType.NO, "gpus": 2}, "DataParallel.*2 GPUs: start one process for each"),
        (
            {"kind": DistributedType.NO, "devices": ("cpu", "meta")},
            r"several devices \(cpu, meta\).*load it whole on one",
        ),
        ({"kind": DistributedType.NO, "precision": "fp16"}, "fp16.*use bf16"),
        ({"kind": DistributedType.MULTI_GPU, "precision": "fp16"}, "fp16.*use bf16"),
        ({"kind": DistributedType.DEEPSPEED, "config": zero(), "slow_correction": False}, "slow_correction=False"),
        ({"kind": DistributedType.DEEPSPEED, "config": zero(), "gxpo_moments": "restored"}, "GXPO.*DDP or FSDP2"),
    ],
)
def test_engines(settings, message):
    with pytest.raises(ValueError, match=message):
        engine_of(trainer(**settings))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_deepspeed_optimizer_of_another_kind_is_refused_when_training_begins(stage):
    refused = trainer(DistributedType.DEEPSPEED, zero(stage, offload_optimizer={"device": "cpu"}))
    engine = engine_of(refused)

    class SuperOffloadOptimizer_Stage3:  # noqa: N801
        pass

    refused.model_wrapped = SimpleNamespace(optimizer=SuperOffloadOptimizer_Stage3())
    with pytest.raises(ValueError, match="SuperOffloadOptimizer_Stage3"):
        engine.start()


class AdamWScheduleFree(torch.optim.SGD):
    pass


class Derived(AdamWScheduleFree):
    pass


class LayerWiseDummyOptimizer(torch.optim.SGD):
    pass


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (AdamWScheduleFree, "AdamWScheduleFree, which keeps a second sequence of weights"),
        (Derived, "AdamWScheduleFree, which keeps"),
        (LayerWiseDummyOptimizer, "LayerWiseDummyOptimizer, which steps within the backward"),
        (torch.optim.SGD, None),
    ],
)
def test_an_optimizer_that_a_trajectory_cannot_move_is_refused_when_training_begins(kind, message):
    started = trainer(DistributedType.NO)
    started.optimizer = SimpleNamespace(optimizer=kind([torch.zeros(1, requires_grad=True)], lr=0.1))
    engine = engine_of(started)
    if message is None:
        engine.start()
        return
    with pytest.raises(ValueError, match=message):
        engine.start()
