"""verl's synchronous trainer with the slow-fast update in place of its own.

Every departure from `PPOTrainerSync`, complete:

1. Before each update the gate decides α from the entropy of the policy at θ_0, which verl computes with its
   `old_log_probs`. verl logs it in the aggregation of the loss, so that a loss that sums over tokens (Dr. GRPO) gives
   something else than nats per token; the gate's is always the mean over the completion tokens.
2. The workers of the policy are those of `worker.py`; K and α, or the trust region that chooses it, travel with the batch.
3. What decided α, and what the workers report of SFPO, is logged under `sfpo/`.
4. The gate's state is a file in each checkpoint, and read back on resume.
5. `UsageError` refuses the configurations in which SFPO would be wrong, or is not known to be right.
"""

import json
from pathlib import Path
from typing import Any

import ray
import transfer_queue as tq
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from sfpo.json_object import Shape, read_object
from sfpo.settings import ask_gate
from sfpo.verl.config import read_settings, refuse_what_is_wrong
from sfpo.verl.whole_passes import WholePassTrustRegion
from sfpo.verl.worker import SlowFastActorRolloutRefWorker
from sfpo.whole import write_whole

STATE_FILE = "sfpo_state.json"
_STATE: dict[str, Shape] = {"gate": {"entropies": [int | float], "closed": bool}}


@register_trainer("sfpo")
class SFPOTrainer(PPOTrainerSync):
    """`PPOTrainerSync` with the slow-fast update, configured under `trainer.v1.sfpo`.

    Raises:
        UsageError: a setting is unknown or out of range, or verl's configuration contradicts SFPO.
    """

    def __init__(self, config: Any) -> None:
        self.settings = read_settings(config)
        refuse_what_is_wrong(config, self.settings)
        self.gate = self.settings.make_gate()
        alpha, budget, largest = self.settings.alpha, self.settings.kl_budget, self.settings.alpha_max
        self._alpha = alpha if isinstance(alpha, float) else WholePassTrustRegion(budget, largest)
        mode = config.trainer.v1.trainer_mode
        # verl's base class branches on its own names, and this one behaves as "sync" everywhere.
        config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        config.trainer.v1.trainer_mode = mode

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        for role in (Role.ActorRollout, Role.ActorRolloutRef):
            if role in self.role_worker_mapping:
                self.role_worker_mapping[role] = ray.remote(SlowFastActorRolloutRefWorker)

    # ---- The slow-fast update -------------------------------------------------------------------------------------

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._compute_old_log_prob(batch, metrics)
        if self.gate is not None:
            scores = tq.kv_batch_get(
                keys=batch.keys, partition_id=batch.partition_id, select_fields=["entropy", "response_mask"]
            )
            # Both jagged (rows, tokens), here without their rows; the mask of rows that verl adds as padding is 0.
            entropies, mask = scores["entropy"].values(), scores["response_mask"].values().bool()
            if mask.any():  # else the batch has no entropy
                metrics["sfpo/entropy"] = float(entropies[mask].mean())
        return batch

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        asked = ask_gate(self.gate, metrics.get("sfpo/entropy"))
        alpha = 0.0 if self.gate is not None and self.gate.closed else self._alpha
        metrics.update({f"sfpo/{name}": value for name, value in asked.items()})
        actor = self.config.actor_rollout_ref.actor
        batch.extra_info["sfpo"] = {
            "inner_steps": self.settings.inner_steps,
            "alpha": alpha,
            "snapshot_device": self.settings.snapshot_device,
            "every_row_has_gradient": actor.use_kl_loss or actor.entropy_coeff != 0.0,
        }
        batch = super()._update_actor(batch, metrics)
        # verl puts all that a worker reports under its role.
        for name in [name for name in metrics if name.startswith("actor/sfpo/")]:
            metrics[name.removeprefix("actor/")] = metrics.pop(name)
        return batch

    # ---- Checkpoints ----------------------------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        if self.gate is not None:
            folder = self._checkpoint_folder()
            folder.mkdir(parents=True, exist_ok=True)
            # First, so that no checkpoint that verl takes for complete is without it.
            write_whole(folder / STATE_FILE, json.dumps({"gate": self.gate.state_dict()}))
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.gate is None or self.global_steps == 0:
            return
        resumed = self.config.trainer.resume_mode == "resume_path"
        folder = Path(self.config.trainer.resume_from_path) if resumed else self._checkpoint_folder()
        # A checkpoint of plain GRPO has none: SFPO then starts from it with a fresh gate.
        if (path := folder / STATE_FILE).exists():
            remedy = "continue from another checkpoint with trainer.resume_mode=resume_path"
            self.gate.load_state_dict(read_object(path, _STATE, remedy)["gate"])

    def _checkpoint_folder(self) -> Path:
        return Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
