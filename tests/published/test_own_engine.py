"""The blocks of the page on one's own engine, on stubs with the calls of the engines that they extend."""

import copy
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from repository import ROOT
from torch import nn
from tutorials import blocks_of

PAGE = ROOT / "docs" / "integrations" / "own-engine.md"
INNER_STEPS, ALPHA = 3, 0.8


@pytest.fixture
def load(monkeypatch):
    """Run the block that imports a package, beside stubs of the modules it imports: its names."""

    def run(package, **modules):
        for name, members in modules.items():
            name = name.replace("__", ".")
            for parent in [name[:end] for end, letter in enumerate(name) if letter == "."]:
                monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
            module = ModuleType(name)
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, name, module)
        (block,) = [block for block in blocks_of(PAGE) if f"from {package}" in block.text]
        names = {}
        exec(block.text, names)
        return names

    return run


def new_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def by_hand(make_pass, weights, after_reposition, alpha):
    """K passes, the reposition as the package spells it, and the slow pass."""
    if alpha > 0:
        start = [weight.detach().clone() for weight in weights]
        for _ in range(INNER_STEPS):
            make_pass()
        with torch.no_grad():
            for weight, origin in zip(weights, start, strict=True):
                weight.lerp_(origin, 1 - alpha)
        after_reposition()
    make_pass()


class Masters:
    """What DeepSpeed's ZeRO-2 keeps on one process: fp32 masters, and bf16 weights made from them."""

    def __init__(self, weights):
        self.weights = list(weights)
        self.single_partition_of_fp32_groups = [nn.Parameter(weight.detach().float()) for weight in self.weights]

    @torch.no_grad()
    def update_lp_params(self):
        for weight, master in zip(self.weights, self.single_partition_of_fp32_groups, strict=True):
            weight.copy_(master)


class Engine:
    def __init__(self):
        self.module = new_model().bfloat16()
        self.optimizer = Masters(self.module.parameters())
        self.adam = torch.optim.AdamW(self.optimizer.single_partition_of_fp32_groups, lr=0.1)
        self.lr_scheduler = torch.optim.lr_scheduler.ExponentialLR(self.adam, gamma=0.5)

    def step(self):
        for weight, master in zip(self.optimizer.weights, self.optimizer.single_partition_of_fp32_groups, strict=True):
            master.grad, weight.grad = weight.grad.float(), None
        self.adam.step()
        self.optimizer.update_lp_params()
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()


class ActorPPOTrainer:
    max_epochs = 1

    def __init__(self, engine):
        self.actor = SimpleNamespace(model=engine)
        torch.manual_seed(1)
        self.replay_buffer = torch.randn(2, 4, 3).bfloat16().split(1)

    def ppo_train(self, kl_ctl):
        for _ in range(self.max_epochs):
            for states in self.replay_buffer:
                loss = (self.actor.model.module(states) - 1).square().mean() * (1 + kl_ctl)
                loss.backward()
                self.actor.model.step()
        return {"loss": loss.item()}


@pytest.mark.parametrize("alpha", [0.0, ALPHA, 1.0])
def test_openrlhf(load, alpha):
    modules = {"openrlhf__trainer__ray__ppo_actor": {"ActorPPOTrainer": ActorPPOTrainer}}
    trainer_class = load("openrlhf.trainer", **modules)["SlowFastPPOTrainer"]
    trainer_class.inner_steps, trainer_class.alpha = INNER_STEPS, alpha
    ours, theirs = trainer_class(Engine()), ActorPPOTrainer(Engine())
    schedule = ours.actor.model.lr_scheduler
    status = ours.ppo_train(0.1)

    engine = theirs.actor.model
    held, statuses = engine.lr_scheduler, []

    def one_pass():
        slow = len(statuses) == (INNER_STEPS if alpha > 0 else 0)
        engine.lr_scheduler = held if slow else None
        statuses.append(theirs.ppo_train(0.1))

    masters = engine.optimizer.single_partition_of_fp32_groups
    by_hand(one_pass, masters, engine.optimizer.update_lp_params, alpha)
    assert status == statuses[-1]
    for one, other in zip(ours.actor.model.optimizer.single_partition_of_fp32_groups, masters, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(ours.actor.model.module.parameters(), engine.module.parameters(), strict=True):
        assert torch.equal(one, other)
    # Two mini-batches a pass: the schedule has seen the steps of one pass alone.
    assert ours.actor.model.lr_scheduler is schedule
    assert schedule.last_epoch == len(theirs.replay_buffer) == held.last_epoch


class Strategy:
    def optimizer_step(self, optimizer, model, scheduler, name):
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        optimizer.zero_grad()
        return norm


class FSDPPolicyWorkerBase:
    def __init__(self):
        self.model = new_model()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, gamma=0.5)
        self.strategy = Strategy()

    def forward_backward(self, states, advantages):
        loss = (self.model(states)[:, 0] * advantages).mean()
        loss.backward()
        return loss.item()

    def optim_step(self):
        return self.strategy.optimizer_step(self.optimizer, self.model, self.scheduler, name="actor").item()


class Dispatch:
    """Controller to worker, without Ray between them."""

    def __init__(self, worker):
        self.worker = worker
        self._actor_groups = {"policy": self}

    def _ensure_on_gpu(self, model):
        assert model == "policy"

    def async_run_ray_method(self, dispatch_type, method, *arguments):
        assert dispatch_type == "pass_through"
        return [getattr(self.worker, method)(*arguments)]


class RayPPOTrainer:
    def build_models(self, policy_worker, critic_worker, ref_worker):
        self.dispatch = Dispatch(policy_worker())

    def _execute_training_step(self, model, data):
        data["advantages"] = data["advantages"] / len(data["advantages"])  # the loss reduction, in place
        worker = self.dispatch.worker
        loss = worker.forward_backward(data["states"], data["advantages"])
        return {"loss": loss, "grad_norm": worker.optim_step()}


@pytest.mark.parametrize("alpha", [0.0, ALPHA, 1.0])
def test_skyrl(load, alpha):
    names = load(
        "skyrl.train",
        ray={"remote": lambda **_: lambda cls: cls, "get": lambda results: results},
        skyrl__backends__skyrl_train__workers__fsdp__fsdp_worker={"FSDPPolicyWorkerBase": FSDPPolicyWorkerBase},
        skyrl__train__trainer={"RayPPOTrainer": RayPPOTrainer},
    )
    trainer_class = names["SlowFastTrainer"]
    trainer_class.inner_steps, trainer_class.alpha = INNER_STEPS, alpha
    torch.manual_seed(1)
    rollouts = {"states": torch.randn(6, 3), "advantages": torch.randn(6)}
    ours, theirs = trainer_class(), RayPPOTrainer()
    for trainer in (ours, theirs):
        trainer.build_models(FSDPPolicyWorkerBase, None, None)
    status = ours._execute_training_step("policy", copy.copy(rollouts))

    worker, statuses = theirs.dispatch.worker, []

    def one_pass():
        statuses.append(theirs._execute_training_step("policy", copy.copy(rollouts)))

    worker.scheduler = None
    by_hand(one_pass, list(worker.model.parameters()), lambda: None, alpha)
    assert status == statuses[-1]
    for one, other in zip(ours.dispatch.worker.model.parameters(), worker.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert ours.dispatch.worker.scheduler.last_epoch == 1
