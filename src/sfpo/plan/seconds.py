"""Seconds of a step: rollouts, scoring π_old, one pass, the reposition, and the ratio of SFPO's step to GRPO's.

Every part is a fixed number of seconds per unit of work plus the seconds at the peak rate divided by an efficiency:

    rollouts = positions · seconds_per_token + nominal_rollout / efficiency.rollout
    scoring  = micro_batches · seconds_per_micro_batch / 3 + nominal_scoring / efficiency.update, where π_old is scored
    pass     = micro_batches · seconds_per_micro_batch + nominal_pass / efficiency.update

The nominal terms add the seconds of operations at the peak rate to those of bytes at the full bandwidth, as if the two
never overlapped. So each part is linear in the values that a calibration fits.
"""

from dataclasses import dataclass, replace

from sfpo.errors import UsageError
from sfpo.plan.architecture import Architecture
from sfpo.plan.hardware import Efficiency, Hardware
from sfpo.plan.memory import trainable
from sfpo.plan.workload import Workload


@dataclass(frozen=True)
class StepSeconds:
    """Seconds of the parts of one step."""

    rollouts: float
    scoring: float
    a_pass: float
    reposition: float

    def with_passes(self, passes: float) -> float:
        """A step that makes this many passes and no reposition."""
        return self.rollouts + self.scoring + passes * self.a_pass

    @property
    def grpo(self) -> float:
        return self.with_passes(1)

    def sfpo(self, inner_steps: int) -> float:
        """A step with this many fast passes, the reposition and the slow pass; GXPO's has two fast passes."""
        return self.with_passes(inner_steps + 1) + self.reposition

    def ratio(self, inner_steps: int) -> float:
        """Seconds of SFPO's step divided by those of GRPO's, on the same rollouts, while the gate is open."""
        return self.sfpo(inner_steps) / self.grpo


def estimate(model: Architecture, work: Workload, hardware: Hardware, efficiency: Efficiency) -> StepSeconds:
    """Seconds of one step.

    Raises:
        UsageError: vLLM's share of a device cannot hold the weights and one sequence.
    """
    # What a step keeps is copied to the host before or between the passes, and back for the reposition.
    moved = 2 * 4 * work.copies * trainable(model, work) / work.optimizer_shards
    return StepSeconds(
        rollouts=positions(model, work, hardware) * efficiency.seconds_per_token
        + nominal_rollout(model, work, hardware) / efficiency.rollout,
        scoring=work.scores_first
        * (
            work.micro_batches * efficiency.seconds_per_micro_batch / 3
            + nominal_scoring(model, work, hardware) / efficiency.update
        ),
        a_pass=work.micro_batches * efficiency.seconds_per_micro_batch
        + nominal_pass(model, work, hardware) / efficiency.update,
        reposition=moved / hardware.host,
    )


def positions(model: Architecture, work: Workload, hardware: Hardware) -> float:
    """How many times a device reads the weights to sample its sequences.

    Once for each token of the longest sequence; more often where vLLM's cache holds only some of the sequences at a time,
    so that they take turns.
    """
    if work.vllm_share is None:
        return work.longest_completion
    # vLLM on its own devices takes nine tenths of their memory by default.
    room = (work.vllm_share or 0.9) * hardware.memory - 2 * model.weights
    fitting = room / (2 * model.cache_values_per_token * (work.prompt_length + work.completion_length))
    if fitting < 1:
        raise UsageError(
            f"vLLM's share of a device ({work.vllm_share or 0.9:.0%}) is too small for {2 * model.weights / 1e9:.1f} GB of "
            "weights and one sequence: raise vllm_gpu_memory_utilization"
        )
    return max(work.longest_completion, work.sequences * work.completion_length / fitting)


def nominal_rollout(model: Architecture, work: Workload, hardware: Hardware) -> float:
    """Peak-rate seconds of sampling on each device, when each holds all weights.

    A device reads the weights once for every position, and the earlier keys and values once for every token. Sequences
    that have ended cost nothing.
    """
    size = 2 if work.bf16 else 4
    tokens = work.sequences * work.completion_length
    attended = work.sequences * _attended(work)
    prompts = work.sequences / work.group_size * work.prompt_length
    read = size * (model.weights * positions(model, work, hardware) + model.cache_values_per_token * attended)
    flops = model.forward_flops(tokens + prompts, attended + prompts * work.prompt_length / 2, tokens)
    return read / hardware.bandwidth + flops / hardware.flops


def nominal_scoring(model: Architecture, work: Workload, hardware: Hardware) -> float:
    """Peak-rate seconds of one forward over all completions of each device."""
    size = 2 if work.bf16 else 4
    flops = _forward_flops(model, replace(work, active_share=1.0), hardware)
    gathered = size * model.weights * work.micro_batches * (work.devices - 1) / work.devices if work.is_sharded else 0
    read = size * model.weights * work.micro_batches
    return flops / hardware.flops + read / hardware.bandwidth + gathered / hardware.link


def nominal_pass(model: Architecture, work: Workload, hardware: Hardware) -> float:
    """Peak-rate seconds of one pass on each device: forward, backward, Adam, and the exchange between devices.

    A backward takes twice as many operations as a forward. With adapters alone it takes as many as a forward, because the
    adapters' own gradients are small. Checkpointing adds one more forward. Adam reads and writes weights, gradients and
    moments, 28 bytes for each weight and optimizer step; each micro-batch reads the weights three times.
    """
    forwards = 1 + (1 if work.engine == "lora" else 2) + int(work.gradient_checkpointing)
    flops = forwards * _forward_flops(model, work, hardware)
    size = 2 if work.bf16 else 4
    trained = trainable(model, work)
    read = 3 * size * model.weights * work.micro_batches + 28 * trained / work.optimizer_shards * work.mini_batches
    return flops / hardware.flops + read / hardware.bandwidth + _exchanged(model, work, size) / hardware.link


def _forward_flops(model: Architecture, work: Workload, hardware: Hardware) -> float:
    """Floating-point operations of a forward over the completions that a pass scores on each device.

    Compact passes skip completions with zero advantage, repeated completions and padding, and without checkpointing they
    encode each distinct prompt once. Other passes pad every completion to the length of the longest and score them all.
    """
    if not work.compact:
        work = replace(work, completion_length=work.longest_completion, active_share=1.0, distinct_share=1.0)
    completions = work.sequences * work.active_share
    rows = completions * work.distinct_share
    once = work.compact and not work.gradient_checkpointing
    prompt_rows = completions / work.group_size if once else rows
    tokens = rows * work.completion_length + prompt_rows * work.prompt_length
    attended = rows * _attended(work) + prompt_rows * work.prompt_length**2 / 2
    # TRL's head scores every position; compact passes skip those of the prompts, except where Triton's kernel is the head.
    scored = rows * work.completion_length if work.compact and hardware.is_cpu else tokens
    return model.forward_flops(tokens, attended, scored)


def _attended(work: Workload) -> float:
    """Keys that the tokens of one completion attend to, summed over the tokens."""
    return work.completion_length * (work.prompt_length + work.completion_length / 2)


def _exchanged(model: Architecture, work: Workload, size: int) -> float:
    """Bytes that each device sends in one pass.

    Gradients are summed once per optimizer step. Under ddp and lora they travel twice, there and back; under the sharded
    engines they travel once, and the new weights travel back. Sharded weights are gathered for every forward and backward.
    """
    gradients = 2 * 4 * trainable(model, work) * work.mini_batches
    gathers = 2 * size * model.weights * work.micro_batches if work.is_sharded else 0
    return (gradients + gathers) * (work.devices - 1) / work.devices
