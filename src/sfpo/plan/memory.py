"""Memory in bytes at the peak of a step, on one device and on its host."""

from dataclasses import dataclass

from sfpo.plan.architecture import Architecture
from sfpo.plan.hardware import Hardware
from sfpo.plan.workload import Workload

_HEAD_CHUNK = 1024
"""Positions whose logits exist at the same time: fused heads compute the logits in chunks."""
_CPU_HEAD_CHUNK = 2**27
"""Bytes of logits that the head for CPUs (`sfpo.trl.head`) computes at a time."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, except for `snapshot`, which is in the host's memory."""

    weights: float
    """The weights that the forward reads: in fp32, or their bf16 copy."""
    masters: float
    """The optimizer's fp32 weights, where they are separate from those of the forward."""
    gradients: float
    moments: float
    """Adam's two moments, fp32."""
    activations: float
    cache: float
    """Keys and values of all sequences at their longest while sampling; or the memory that vLLM keeps throughout."""
    keeps_cache: bool
    snapshot: float
    """One device's share of θ_0 in fp32, and of what else GXPO keeps, in the host's memory."""

    @property
    def states(self) -> float:
        return self.weights + self.masters + self.gradients + self.moments

    @property
    def peak(self) -> float:
        """The larger of the sampling peak and the passes' peak, since they take turns; lasting memory counts in both."""
        if self.keeps_cache:
            return self.states + self.activations + self.cache
        return self.states + max(self.activations, self.cache)


def trainable(model: Architecture, work: Workload) -> int:
    """Number of weights that are trained."""
    return model.lora_weights(work.lora_rank) if work.engine == "lora" else model.weights


def estimate(model: Architecture, work: Workload, hardware: Hardware) -> Memory:
    """Memory of SFPO's step; those of GRPO and GXPO differ only by the snapshot.

    With N weights, T of them trained, D devices:

    | engine      | weights                | masters | gradients | moments |
    |-------------|------------------------|---------|-----------|---------|
    | ddp, lora   | 4N, and 2N where bf16  | in them | 4T        | 8T      |
    | zero2       | 2N                     | 4T/D    | 4T/D      | 8T/D    |
    | zero3/fsdp2 | 2N/D and what is gathered | 4T/D | 4T/D      | 8T/D    |

    Under fsdp2 with several micro-batches per optimizer step, gradients are 2T: accelerate reduces them only after the last
    one. Under ddp, bf16 means autocast, which keeps its casts of the weights for the length of a forward. Sharded engines
    gather two layers and the output head at a time, in bf16. A colocated vLLM keeps its share of the device's memory
    throughout; its own bf16 weights are part of that share.
    """
    trained, shards = trainable(model, work), work.optimizer_shards
    half = 2 if work.bf16 else 4
    if work.is_sharded:
        gathered = 2 * model.layer_matrices + model.vocabulary * model.hidden
        weights = half * (model.weights / work.devices + (gathered if work.devices > 1 else 0))
    elif work.engine == "zero2":
        weights = half * model.weights
    else:
        weights = (4 + (2 if work.bf16 else 0)) * model.weights
    if work.vllm_share is None:
        tokens = work.sequences * (work.prompt_length + work.longest_completion)
        cache = half * model.cache_values_per_token * tokens
    else:
        cache = work.vllm_share * hardware.memory
    gradients = 4.0 * trained / shards
    if work.engine == "fsdp2" and work.accumulation > 1:
        # accelerate reduces only after the last micro-batch: until then every device holds the whole gradient.
        gradients = half * trained
    return Memory(
        weights=weights,
        masters=0 if work.engine in ("ddp", "lora") else 4 * trained / shards,
        gradients=gradients,
        moments=8 * trained / shards,
        activations=_activations(model, work, half, hardware.is_cpu),
        cache=cache,
        keeps_cache=work.vllm_share is not None,
        snapshot=4 * work.copies * trained / shards,
    )


def _activations(model: Architecture, work: Workload, size: int, on_cpu: bool) -> float:
    """Bytes that the backward needs for one micro-batch at its longest, with attention that keeps no score matrix.

    For each token a layer keeps the inputs of its two blocks, before and after normalisation, with their fp32 casts. These
    count as 8 hidden vectors, since a cast is twice the size. It also keeps queries, keys, values, the attention's output
    and four vectors of the MLP's width. With checkpointing every layer keeps only its input, and one layer is recomputed at
    a time. The head adds a chunk of logits and their softmax in fp32; on a CPU without checkpointing it adds a chunk of the
    completions' logits and its gradient.
    """
    tokens = work.micro_batch * (work.prompt_length + work.longest_completion)
    layer = size * (8 * model.hidden + 2 * (model.heads + model.kv_heads) * model.head_dim + 4 * model.mlp)
    inputs = size * model.hidden * model.layers
    kept = inputs + layer if work.gradient_checkpointing else layer * model.layers
    logits = size * model.vocabulary * work.micro_batch * work.longest_completion
    if on_cpu and work.compact and not work.gradient_checkpointing:
        head = 2 * min(logits, _CPU_HEAD_CHUNK)
    else:
        head = 8 * model.vocabulary * min(tokens, _HEAD_CHUNK)
    return kept * tokens + head
