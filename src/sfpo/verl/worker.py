"""The worker that holds the policy's weights: K + 1 passes over each batch of rollouts where verl makes one.

Every departure from verl's `TrainingWorker`, complete:

1. `train_mini_batch`, verl's one pass over a batch (M mini-batches, M optimizer steps), is first made K times for the
   fast trajectory; the local shards of the weights are repositioned; the pass that follows is the slow one. With α = 0
   only that one remains, bit for bit verl's own update. π_old in all passes are the batch's `old_log_probs`.
   A trust region chooses α from the KL of each pass, measured on what the loss is called with; it ends the trajectory
   between passes, and leaves the slow one out where one pass alone left the region.
2. The learning-rate schedule steps once a batch, in the slow pass or, where there is none, after the reposition.
3. Where verl offloads weights and optimizer, they stay on the device from the first pass to the last.
4. Metrics are verl's own, over pass 0 (memory and learning rate: at the end), and under `sfpo/` those of the step and
   of each pass.
5. A model with dropout is refused.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn
from verl.utils import tensordict_utils as tu
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from sfpo.errors import UsageError
from sfpo.slow_fast import SlowFast, SlowFastReport
from sfpo.trust_region import TrustRegion
from sfpo.verl.kl_meter import KLMeter, active_share


class SlowFastTrainingWorker(TrainingWorker):
    """verl's `TrainingWorker` with the slow-fast update.

    Each batch brings under `sfpo`: `inner_steps`, `alpha` (a number, or the trust region that chooses it, whose budget and
    mini-batches are then fitted to the batch), `snapshot_device`, and `every_row_has_gradient`, whether the loss has a
    gradient in completions without an advantage.

    Raises:
        UsageError: the model has dropout, with which the passes would not share one objective.
    """

    _in_fast_pass = False
    _kl: KLMeter | None = None
    """While a trust region chooses α."""

    def reset(self) -> None:
        super().reset()
        refuse_dropout(self.engine.module)

    def set_loss_fn(self, loss_fn: Callable[..., Any]) -> None:
        """Set the loss; what it is called with is measured first where a trust region chooses α."""

        def measured(**given: Any) -> Any:
            # verl also calls some losses with logits, to process them.
            if self._kl is not None and "model_output" in given:
                self._kl.add(given["model_output"], given["data"])
            return loss_fn(**given)

        super().set_loss_fn(measured)

    def train_mini_batch(self, data: Any) -> Any:
        """Make one SFPO step on a batch of rollouts (a `TensorDict`, the rows of this data-parallel rank)."""
        settings = tu.pop(data, "sfpo")
        loaded_by_caller = tu.pop(data, "disable_auto_offload", default=False)
        # Weights and optimizer stay on the device from the first pass to the last.
        tu.assign_non_tensor(data, disable_auto_offload=True)
        outputs: list[Any] = []
        with self.engine.train_mode(disable_auto_offload=loaded_by_caller):
            rule, own = settings["alpha"], dict[str, float]()
            if isinstance(rule, TrustRegion):
                rule, own = self._fitted(rule, data, settings["every_row_has_gradient"])
            slow_fast = SlowFast(
                self.engine.module.parameters(), settings["inner_steps"], rule, settings["snapshot_device"]
            )
            self._kl = KLMeter(settings["every_row_has_gradient"]) if isinstance(rule, TrustRegion) else None
            try:
                with slow_fast.trajectory(lambda: self._fast_pass(data, outputs)) as line:
                    if line.corrects:
                        outputs.append(self._pass(data))
                if self._kl is not None:
                    reached = self._kl.of_first_mini_batch() if line.corrects else None
                    own |= _metrics_of_region(rule, slow_fast.report, reached)
            finally:
                self._kl = None
            rate = None if line.corrects else self.engine.lr_scheduler_step()
        output = outputs[-1]
        if output is not None:
            passes = [tu.get(pass_output, "metrics") for pass_output in outputs]
            if rate is not None:
                passes[-1]["lr"] = [rate]
            passes[-1].update(_with_sfpo_metrics(passes, slow_fast.report, own))
        return output

    def _fitted(self, region: TrustRegion, data: Any, every_row_has_gradient: bool) -> tuple[Any, dict[str, float]]:
        """What chooses α for this batch, 0 where no completion has an advantage; and the metrics that say why."""
        share = 1.0 if every_row_has_gradient else active_share(data)
        # Without an advantage there is nothing to measure a step by, and momentum alone would be extrapolated.
        if share == 0.0:
            return 0.0, {"active_share": share}
        rows = data.shape[0] * self.engine.get_data_parallel_size()
        fitted = replace(region, mini_batches=rows // tu.get(data, "mini_batch_size")).for_batch(share)
        return fitted, {"active_share": share, "kl_budget": fitted.kl_budget}

    def _fast_pass(self, data: Any, outputs: list[Any]) -> float:
        """Make one fast pass, and add its output; returns the KL that it measured, NaN where α is a number."""
        self._in_fast_pass = True
        try:
            outputs.append(self._pass(data))
        finally:
            self._in_fast_pass = False
        return math.nan if self._kl is None else self._kl.of_pass()

    def _pass(self, data: Any) -> Any:
        if self._kl is not None:
            self._kl.start_pass()
        # verl takes its instructions out of the batch that it is given.
        return super().train_mini_batch(data.copy())

    def train_batch(self, data: Any) -> Any:
        if self._in_fast_pass:
            tu.assign_non_tensor(data, update_lr_scheduler=False)
        if self._kl is not None:
            self._kl.start_mini_batch()
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


def _metrics_of_region(region: TrustRegion, report: SlowFastReport, reached: float | None) -> dict[str, float]:
    """What the trust region predicted and reached, as far as it is known."""
    known = {"kl_predicted": region.predicted_kl(report.passes), "kl_reached": reached}
    metrics: dict[str, float] = {name: value for name, value in known.items() if value is not None}
    return {**metrics, "line_search_steps": float(report.line_search_steps)}


def _with_sfpo_metrics(
    passes: list[dict[str, Any]], report: SlowFastReport, chosen: dict[str, float]
) -> dict[str, Any]:
    """verl's metrics of pass 0 and SFPO's; each value a number or, over the mini-batches, a list of numbers."""
    own: dict[str, Any] = {
        **chosen,
        "alpha": report.alpha,
        "passes": float(len(passes)),
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
