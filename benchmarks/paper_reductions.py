"""The paper's rollout and time reductions, and the time reductions that `sfpo plan` predicts from the rollout reductions.

If SFPO needs R times fewer rollouts and T times less time, its step took ρ = R/T times as long as GRPO's: 1.225, 1.321 and
1.177. The cost model predicts ρ for all three models from one set of efficiencies; docs/guides/plan.md discusses its errors.

    python benchmarks/paper_reductions.py
"""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sfpo.plan import seconds
from sfpo.plan.architecture import PAPER_MODELS
from sfpo.plan.hardware import ASSUMED, GPUS, Efficiency, Hardware
from sfpo.plan.workload import Workload

INNER_STEPS = 3

# The authors' scripts have 256 prompts of 8 rollouts on eight GPUs, mini-batches of 64 prompts, micro-batches of about
# 24,000 tokens without padding, FSDP, checkpointing, and 0.7 of each GPU for vLLM. Their GPUs and mean lengths are not
# known. We assume H100s, prompts of 150 tokens, and completions that average half the limit of 6,144, with the longest of a
# batch at the limit.
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
    scores_first=True,
    vllm_share=0.7,
)
HARDWARE = GPUS["h100-80gb"]

# The paper's runs take 400 steps. It does not publish where in them GRPO's best lies, so we assume the end. Nor does it
# publish when the gate (|Z| ≥ 1 over 30 entropies, for good) closed, so we assume the median over the settings of
# docs/evidence/results.md.
GRPO_STEPS = 400
OPEN_STEPS = 38

# Rollout and time reduction of the paper's efficiency analysis.
REPORTED = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (3.21, 2.62),
    "Qwen/Qwen3-4B-Base": (3.50, 2.65),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (4.93, 4.19),
}


@dataclass(frozen=True)
class Relation:
    """One model's reductions: the reported ones, and those that the cost model predicts for an open and a closing gate."""

    model: str
    rollouts: float
    time: float
    predicted_ratio: float
    """Seconds of SFPO's step divided by those of GRPO's while the gate is open."""

    @property
    def ratio(self) -> float:
        """The ratio that the reported reductions imply."""
        return self.rollouts / self.time

    @property
    def open_share(self) -> float:
        """The share of steps before the gate closes, among the steps that SFPO needs to reach GRPO's best."""
        return min(1.0, OPEN_STEPS * self.rollouts / GRPO_STEPS)

    @property
    def closing_ratio(self) -> float:
        """SFPO's mean step divided by GRPO's if the gate closes: after that, a step costs as much as GRPO's."""
        return 1 + self.open_share * (self.predicted_ratio - 1)

    def predicted_time(self, *, closes: bool) -> float:
        return self.rollouts / (self.closing_ratio if closes else self.predicted_ratio)

    def miss(self, *, closes: bool) -> float:
        """Error of the predicted time reduction, as a share of the reported one."""
        return self.predicted_time(closes=closes) / self.time - 1


def relations(
    efficiency: Efficiency = ASSUMED, hardware: Hardware = HARDWARE, work: Workload = WORK
) -> list[Relation]:
    """The three models with the same assumptions; the defaults are those of every plan, and none is fitted."""
    steps = {name: seconds.estimate(PAPER_MODELS[name], work, hardware, efficiency) for name in REPORTED}
    return [Relation(name, *REPORTED[name], steps[name].ratio(INNER_STEPS)) for name in REPORTED]


def main() -> None:
    """Print the table of docs/guides/plan.md."""
    table = Table(title="The paper's reductions at K = 3, and the predicted time", title_justify="left")
    for name in ("model", "rollouts", "time", "step", "gate open", "miss", "closing", "miss"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for r in relations():
        predicted = (
            cell
            for closes in (False, True)
            for cell in (f"{r.predicted_time(closes=closes):.2f}×", f"{r.miss(closes=closes):+.0%}")
        )
        name = r.model.split("/")[-1].replace("DeepSeek-R1-Distill", "DS")
        table.add_row(name, f"{r.rollouts:.2f}×", f"{r.time:.2f}×", f"{r.ratio:.3f}", *predicted)
    table.caption = f"step: SFPO's over GRPO's, as implied; closing: after {OPEN_STEPS} steps, where GRPO takes {GRPO_STEPS} to its best"
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
