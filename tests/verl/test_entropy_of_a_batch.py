"""A batch in which no token counts has no entropy, and the gate keeps its state."""

from types import SimpleNamespace

import pytest
import torch

from sfpo.gate import EntropyGate
from sfpo.verl import trainer as module


@pytest.mark.parametrize(("mask", "entropy"), [([0, 0, 0], None), ([1, 0, 1], 2.0)])
def test_the_entropy_is_over_the_tokens_that_count(monkeypatch, mask, entropy):
    jagged = {
        name: torch.nested.nested_tensor([torch.tensor(values[:2]), torch.tensor(values[2:])], layout=torch.jagged)
        for name, values in {"entropy": [1.0, 9.0, 3.0], "response_mask": mask}.items()
    }
    monkeypatch.setattr(module.PPOTrainerSync, "_compute_old_log_prob", lambda self, batch, metrics: batch)
    monkeypatch.setattr(module.PPOTrainerSync, "_update_actor", lambda self, batch, metrics: batch)
    monkeypatch.setattr(module.tq, "kv_batch_get", lambda **asked: jagged)
    trainer = module.SFPOTrainer.__new__(module.SFPOTrainer)
    trainer.gate, trainer._alpha = EntropyGate(window=2), 0.8
    trainer.settings = SimpleNamespace(inner_steps=3, snapshot_device=None)
    actor = SimpleNamespace(use_kl_loss=False, entropy_coeff=0.0)
    trainer.config = SimpleNamespace(actor_rollout_ref=SimpleNamespace(actor=actor))
    batch, metrics = SimpleNamespace(keys=[], partition_id="", extra_info={}), {}
    trainer._compute_old_log_prob(batch, metrics)
    trainer._update_actor(batch, metrics)
    assert metrics.get("sfpo/entropy") == entropy
    assert metrics["sfpo/gate_closed"] == 0.0
    assert batch.extra_info["sfpo"]["alpha"] == 0.8
    assert trainer.gate.state_dict()["entropies"] == ([] if entropy is None else [entropy])
