"""The paper's rollout and time reductions, and what the cost model makes of the one to foretell the other.

R times fewer rollouts in T times less time say that SFPO's step took ρ = R/T of GRPO's: 1.225, 1.321 and 1.177. The cost
model foretells ρ from one set of efficiencies for all three models; docs/plan.md discusses where it misses.
"""

from dataclasses import dataclass

from sfpo.plan import seconds
from sfpo.plan.architecture import PAPER_MODELS
from sfpo.plan.hardware import GPUS, Efficiency
from sfpo.plan.workload import Workload

INNER_STEPS = 3

# 256 prompts of 8 rollouts on eight GPUs, mini-batches of 64 prompts, micro-batches of about 24,000 tokens, FSDP and
# checkpointing, as the authors' scripts have it. Their GPUs and mean lengths are not known: assumed are H100s, prompts of
# 150 tokens, and completions of half the limit of 6,144 in the mean, the longest of a batch at the limit.
WORK = Workload(
    micro_batch=8,
    accumulation=8,
    mini_batches=4,
    group_size=8,
    prompt_length=150,
    completion_length=3072,
    longest_completion=6144,
    devices=8,
    engine="fsdp2",
    gradient_checkpointing=True,
)
HARDWARE = GPUS["h100-80gb"]

# Those of a coarse grid (rollout 0.2 to 0.7, 5 to 30 ms a token, update 0.3 to 0.5) with the smallest worst miss.
EFFICIENCY = Efficiency(rollout=0.2, seconds_per_token=0.03, update=0.5, seconds_per_micro_batch=0.05)

# Rollout and time reduction of the paper's efficiency analysis.
REPORTED = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (3.21, 2.62),
    "Qwen/Qwen3-4B-Base": (3.50, 2.65),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (4.93, 4.19),
}


@dataclass(frozen=True)
class Relation:
    """One model's reductions: as reported, and the time reduction that the cost model foretells."""

    model: str
    rollouts: float
    time: float
    predicted_ratio: float
    """SFPO's step over GRPO's while the gate is open."""

    @property
    def ratio(self) -> float:
        """The ratio that the reported reductions imply."""
        return self.rollouts / self.time

    @property
    def predicted_time(self) -> float:
        return self.rollouts / self.predicted_ratio

    @property
    def miss(self) -> float:
        """Of the time reduction, as a share of what was reported."""
        return self.predicted_time / self.time - 1

    @property
    def open_share(self) -> float:
        """The share of SFPO's steps with an open gate that would make the prediction true: the others cost a GRPO step."""
        return (self.ratio - 1) / (self.predicted_ratio - 1)


def relations(efficiency: Efficiency = EFFICIENCY) -> list[Relation]:
    """The three models, with the same efficiencies."""
    found = []
    for name, (rollouts, time) in REPORTED.items():
        step = seconds.estimate(PAPER_MODELS[name], WORK, HARDWARE, efficiency)
        # verl scores every rollout anew before the first pass: of the four forwards' worth of a pass, one.
        scoring = step.a_pass / 4
        ratio = (step.sfpo(INNER_STEPS) + scoring) / (step.grpo + scoring)
        found.append(Relation(name, rollouts, time, ratio))
    return found
