"""The worker that holds the policy's weights: K + 1 passes over each batch of rollouts where verl makes one.

Every departure from verl's `TrainingWorker`, complete:

1. `train_mini_batch`, verl's one pass over a batch (M mini-batches, M optimizer steps), is first made K times for the
   fast trajectory; the local shards of the weights are repositioned; the pass that follows is the slow one. With α = 0
   only that one remains, bit for bit verl's own update. π_old in all passes are the batch's `old_log_probs`.
2. The learning-rate schedule steps once a batch, in the slow pass.
3. Where verl offloads weights and optimizer, they stay on the device from the first pass to the last.
4. Metrics are verl's own, over pass 0 (memory and learning rate: at the end), and under `sfpo/` those of the step and
   of each pass.
5. A model with dropout is refused.
"""

from typing import Any

from torch import nn
from verl.utils import tensordict_utils as tu
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from sfpo.errors import UsageError
from sfpo.slow_fast import SlowFast, SlowFastReport


class SlowFastTrainingWorker(TrainingWorker):
    """verl's `TrainingWorker` with the slow-fast update.

    Each batch brings under `sfpo` what `SlowFast` is made with: `inner_steps`, `alpha` and `snapshot_device`.

    Raises:
        UsageError: the model has dropout, with which the passes would not share one objective.
    """

    _in_fast_pass = False

    def reset(self) -> None:
        super().reset()
        refuse_dropout(self.engine.module)

    def train_mini_batch(self, data: Any) -> Any:
        """Make one SFPO step on a batch of rollouts (a `TensorDict`, the rows of this data-parallel rank)."""
        settings = tu.pop(data, "sfpo")
        loaded_by_caller = tu.pop(data, "disable_auto_offload", default=False)
        # Weights and optimizer stay on the device from the first pass to the last.
        tu.assign_non_tensor(data, disable_auto_offload=True)
        with self.engine.train_mode(disable_auto_offload=loaded_by_caller):
            slow_fast = SlowFast(self.engine.module.parameters(), **settings)
            with slow_fast.trajectory(lambda: self._fast_pass(data)):
                output = super().train_mini_batch(data.copy())
        if output is not None:
            metrics = tu.get(output, "metrics")
            fast = [tu.get(fast_output, "metrics") for fast_output in slow_fast.report.passes]
            metrics.update(_with_sfpo_metrics([*fast, metrics], slow_fast.report))
        return output

    def _fast_pass(self, data: Any) -> Any:
        self._in_fast_pass = True
        try:
            # verl takes its instructions out of the batch that it is given.
            return super().train_mini_batch(data.copy())
        finally:
            self._in_fast_pass = False

    def train_batch(self, data: Any) -> Any:
        if self._in_fast_pass:
            tu.assign_non_tensor(data, update_lr_scheduler=False)
        return super().train_batch(data)


class SlowFastActorRolloutRefWorker(ActorRolloutRefWorker):
    """verl's colocated worker, with the slow-fast update for its policy."""

    actor_worker_cls = SlowFastTrainingWorker


def refuse_dropout(module: nn.Module) -> None:
    """Raise a `UsageError` that names the first part of the model with dropout."""
    for name, part in module.named_modules():
        # Attention drops in a function, by a number that its module keeps.
        rate = part.p if isinstance(part, nn.Dropout) else getattr(part, "attention_dropout", 0.0)
        if isinstance(rate, int | float) and rate > 0:
            raise UsageError(
                f"{name} has dropout {rate}, and SFPO's passes must share one objective: set the model's dropout to 0 "
                "in actor_rollout_ref.model.override_config"
            )


def _with_sfpo_metrics(passes: list[dict[str, Any]], report: SlowFastReport) -> dict[str, Any]:
    """verl's metrics of pass 0 and SFPO's; each value a number or, over the mini-batches, a list of numbers."""
    own = {
        "drift": report.drift,
        "snapshot_bytes": float(report.bytes_held),
        "optimizer_steps_per_rollout_batch": float(sum(len(metrics["grad_norm"]) for metrics in passes)),
    }
    for index, metrics in enumerate(passes):
        for name, value in metrics.items():
            if name == "grad_norm" or name.startswith("actor/"):
                own[f"pass_{index}/{name.removeprefix('actor/')}"] = value
    first = {name: value for name, value in passes[0].items() if not name.startswith("perf/") and name != "lr"}
    return {**first, **{f"sfpo/{name}": value for name, value in own.items()}}
