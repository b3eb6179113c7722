"""What SFPO takes from verl without its promise, by name."""

import inspect
from pathlib import Path

import pytest
import transfer_queue as tq
from border import Source, members, signature_of
from verl.trainer.ppo.core_algos import compute_remax_outcome_advantage
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id
from verl.workers.engine.base import BaseEngine
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker
from verl.workers.utils.padding import no_padding_2_padding

import sfpo

SOURCE = Source(sorted((Path(sfpo.__file__).parent / "verl").rglob("*.py")))
HOSTS = (PPOTrainerSync, ActorRolloutRefWorker, TrainingWorker)

METHODS = [
    # Overridden.
    (PPOTrainerSync, "__init__", "(self, config)"),
    (PPOTrainerSync, "_init_resource_pool_mgr", "(self)"),
    (PPOTrainerSync, "_compute_old_log_prob", "(self, batch, metrics)"),
    (PPOTrainerSync, "_update_actor", "(self, batch, metrics)"),
    (PPOTrainerSync, "_save_checkpoint", "(self)"),
    (PPOTrainerSync, "_load_checkpoint", "(self)"),
    (TrainingWorker, "reset", "(self)"),
    (TrainingWorker, "set_loss_fn", "(self, loss_fn)"),
    (TrainingWorker, "train_mini_batch", "(self, data)"),
    (TrainingWorker, "train_batch", "(self, data)"),
    # Called.
    (BaseEngine, "train_mode", "(self, **kwargs)"),
    (BaseEngine, "lr_scheduler_step", "(self)"),
    (BaseEngine, "get_data_parallel_size", "(self)"),
]
FUNCTIONS = [
    (register_trainer, "(name)"),
    (tu.pop, "(tensordict, key, default=None)"),
    (tu.get, "(tensordict, key, default=None)"),
    (tu.assign_non_tensor, "(tensor_dict, **kwargs)"),
    (get_device_id, "()"),
    (no_padding_2_padding, "(tensor, data)"),
    (tq.kv_batch_get, "(keys, partition_id, select_fields=None)"),
]

OPTIONAL = {"getattr(part, 'attention_dropout', 0.0)": "only attention modules have one"}


@pytest.mark.parametrize(("host", "name", "signature"), METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_methods_take_what_they_took(host, name, signature):
    assert hasattr(host, name), f"{host.__name__} has no {name} any more"
    assert signature_of(getattr(host, name)) == signature


@pytest.mark.parametrize(("function", "signature"), FUNCTIONS, ids=lambda value: getattr(value, "__name__", value))
def test_functions_take_what_they_took(function, signature):
    assert signature_of(function) == signature


def test_attributes_are_there():
    assert {"config", "global_steps", "role_worker_mapping"} - members(PPOTrainerSync) == set()
    assert "engine" in members(TrainingWorker)


def test_verl_uses_what_is_replaced():
    """Under another name verl would train without SFPO, or step the learning rate in every pass, and say nothing."""
    assert ActorRolloutRefWorker.actor_worker_cls is TrainingWorker
    assert "self.actor_worker_cls(" in inspect.getsource(ActorRolloutRefWorker)
    trainer = "".join(inspect.getsource(cls) for cls in PPOTrainerSync.__mro__[:-1])
    for use in ("cls=self.role_worker_mapping[", "self._compute_old_log_prob(", "self._update_actor("):
        assert use in trainer, use
    assert trainer.index("self._compute_old_log_prob(") < trainer.index("self._update_actor(")
    assert 'tu.get(data, key="update_lr_scheduler"' in inspect.getsource(TrainingWorker.train_batch)
    assert 'tu.pop(data, key="disable_auto_offload"' in inspect.getsource(TrainingWorker.train_mini_batch)


def test_the_synchronous_trainer_samples_no_greedy_baseline_yet():
    """Once it does, `sfpo.verl.config` need not refuse `adv_estimator=remax`, nor the docs say so."""
    modules = {inspect.getfile(cls) for cls in PPOTrainerSync.__mro__ if cls.__module__.startswith("verl.")}
    assert any(path.endswith("trainer_sync.py") for path in modules)
    code = "".join(path.read_text() for module in modules for path in Path(module).parent.rglob("*.py")).lower()
    assert [word for word in ("remax", "reward_baselines") if word in code] == []
    # ReMax's advantages, which only verl's older trainers make, are asked for by these words.
    assert "reward_baselines" in inspect.signature(compute_remax_outcome_advantage).parameters


def test_every_private_member_of_verl_is_listed_here():
    listed = {name for _, name, _ in METHODS if name.startswith("_") and name != "__init__"}
    found = SOURCE.private_of_others(HOSTS)
    assert {name: places for name, places in found.items() if name not in listed} == {}
    assert sorted(listed - found.keys()) == [], "listed, but nothing in the package uses it"


def test_no_member_of_verl_is_read_with_a_default():
    found = SOURCE.lookups_with_a_default()
    assert {code: places for code, places in found.items() if code not in OPTIONAL} == {}
    assert sorted(OPTIONAL.keys() - found.keys()) == [], "listed, but nothing in the package uses it"
