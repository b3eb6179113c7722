"""What a configuration will cost, before it runs."""

from dataclasses import dataclass

from sfpo.trl import SFPOConfig


@dataclass(frozen=True)
class Cost:
    """Counts over all processes; a rollout is one sampled completion."""

    prompts_per_batch: int
    rollouts_per_batch: int
    mini_batches: int
    passes_per_batch: int
    optimizer_steps_per_batch: int
    batches: int
    rollouts: int
    optimizer_steps: int
    most_tokens_sampled: int

    def lines(self) -> list[str]:
        """As text, while the gate is open."""
        mini = f" of {self.mini_batches} mini-batches" if self.mini_batches > 1 else ""
        return [
            f"rollouts per batch    {self.rollouts_per_batch:,} ({self.prompts_per_batch:,} prompts)",
            f"passes per batch      {self.passes_per_batch}{mini}",
            f"optimizer steps       {self.optimizer_steps_per_batch} per batch of rollouts, {self.optimizer_steps:,} in all",
            f"rollouts in all       {self.rollouts:,} in {self.batches:,} batches",
            f"tokens sampled        at most {self.most_tokens_sampled:,}",
        ]


def estimate(training: SFPOConfig, train_problems: int) -> Cost:
    """The cost of a run whose gate stays open; a gate that closes makes it less."""
    per_generation, per_step = training.steps_per_generation, training.gradient_accumulation_steps
    mini_batches = max(1, per_generation // per_step)
    # Several batches of rollouts feed one optimizer step where fewer micro-batches are sampled than accumulated.
    batches_per_step = max(1, per_step // per_generation)
    prompts = training.generation_batch_size * batches_per_step // training.num_generations
    rollouts_per_batch = prompts * training.rollouts_per_prompt
    steps = training.max_steps
    if steps <= 0:
        steps = int(training.num_train_epochs * (train_problems // prompts) * mini_batches)
    passes = training.passes
    batches = -(-steps // mini_batches)
    return Cost(
        prompts_per_batch=prompts,
        rollouts_per_batch=rollouts_per_batch,
        mini_batches=mini_batches,
        passes_per_batch=passes,
        optimizer_steps_per_batch=passes * mini_batches,
        batches=batches,
        rollouts=batches * rollouts_per_batch,
        optimizer_steps=batches * passes * mini_batches,
        most_tokens_sampled=batches * rollouts_per_batch * training.max_completion_length,
    )
