"""Bytes on one device at the peak of a step, and in the host's memory."""

from dataclasses import dataclass

from sfpo.plan.architecture import Architecture
from sfpo.plan.hardware import Hardware
from sfpo.plan.workload import Workload

_HEAD_CHUNK = 1024
"""Positions whose logits are alive at a time: fused heads go through the vocabulary in pieces."""
_CPU_HEAD_CHUNK = 2**27
"""Bytes of logits that a CPU's head (`sfpo.trl.head`) makes at a time."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, but for `snapshot`, which is the host's."""

    weights: float
    """What the forward reads: fp32, or the bf16 copy of it."""
    masters: float
    """fp32 weights that the optimizer steps from, where they are kept apart."""
    gradients: float
    moments: float
    """Adam's two, fp32."""
    activations: float
    cache: float
    """Keys and values of every sequence while it is sampled, all at their longest; or what vLLM keeps for good."""
    keeps_cache: bool
    snapshot: float
    """θ_0, fp32, one device's share, in the host's memory."""

    @property
    def states(self) -> float:
        return self.weights + self.masters + self.gradients + self.moments

    @property
    def peak(self) -> float:
        """Sampling and passes take turns; what lasts is there in both."""
        if self.keeps_cache:
            return self.states + self.activations + self.cache
        return self.states + max(self.activations, self.cache)


def trainable(model: Architecture, work: Workload) -> int:
    """Weights that are trained."""
    return model.lora_weights(work.lora_rank) if work.engine == "lora" else model.weights


def estimate(model: Architecture, work: Workload, hardware: Hardware) -> Memory:
    """Memory of SFPO's step; GRPO's differs by the snapshot alone.

    With N weights, T of them trained, D devices:

    | engine      | weights                | masters | gradients | moments |
    |-------------|------------------------|---------|-----------|---------|
    | ddp, lora   | 4N, and 2N where bf16  | in them | 4T        | 8T      |
    | zero2       | 2N                     | 4T/D    | 4T/D      | 8T/D    |
    | zero3/fsdp2 | 2N/D and what is gathered | 4T/D | 4T/D      | 8T/D    |

    Under fsdp2 with several micro-batches an optimizer step, gradients are 2T: they are reduced after the last only.
    Under ddp bf16 is autocast, which keeps its casts of the weights for the length of a forward. Gathered at a time are
    two layers and the output head, in bf16. A colocated vLLM keeps its share of the device's memory (with its own bf16
    weights in it) throughout.
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
        # accelerate does not reduce before the last micro-batch: until then every device holds the whole gradient.
        gradients = half * trained
    return Memory(
        weights=weights,
        masters=0 if work.engine in ("ddp", "lora") else 4 * trained / shards,
        gradients=gradients,
        moments=8 * trained / shards,
        activations=_activations(model, work, half, hardware.is_cpu),
        cache=cache,
        keeps_cache=work.vllm_share is not None,
        snapshot=4 * trained / shards,
    )


def _activations(model: Architecture, work: Workload, size: int, on_cpu: bool) -> float:
    """What the backward needs of one micro-batch at its longest, with attention that keeps no score matrix.

    A layer keeps, per token, the inputs of its two blocks, normalised and not, and their fp32 casts (8 hidden in all, the
    casts being twice the size), queries, keys, values and attention's output, and four vectors of the MLP's width. With checkpointing all layers keep
    their input only, and one is recomputed at a time. The head adds a chunk of logits and their softmax in fp32; on a CPU,
    without checkpointing, a chunk of the completions' logits and its gradient.
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
