"""The plugin and the trainer, called as Axolotl's builder calls them; on a stub of its modules where it is not installed."""

import importlib
import re
import sys
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import distributions
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml
from datasets import Dataset
from repository import ROOT
from tiny_runs import LIKE_TRL, PROMPTS, SETTINGS, assert_same, reward_low_digits, train, weights
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from tutorials import blocks_of

from sfpo.trl import SFPOConfig
from sfpo.trl import SFPOTrainer as SFPOTrainerOfTRL

TRAINER = "sfpo.axolotl.trainer.SFPOTrainer"


class Optimizer(str, Enum):  # noqa: UP042 - what Axolotl's configuration holds
    FLASH_ADAMW = "flash_adamw"


class OptimizerInitMixin:
    """TRL's trainers do not take the optimizer that Axolotl's builder may pass."""

    def __init__(self, *args, optimizer_cls_and_kwargs=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs


class StubTrainer(OptimizerInitMixin, GRPOTrainer):
    pass


@pytest.fixture
def axolotl(monkeypatch):
    """Import what the configuration names, beside Axolotl or the stub."""
    if not any(distribution.name == "axolotl" for distribution in distributions()):
        members = {
            "axolotl.integrations.base": {"BasePlugin": type("BasePlugin", (), {})},
            "axolotl.core.trainers.grpo.trainer": {"AxolotlGRPOTrainer": StubTrainer},
        }
        for name, of_module in members.items():
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
            vars(sys.modules[name]).update(of_module)

    def load(name):
        module, _, member = name.rpartition(".")
        return getattr(importlib.import_module(module), member)

    yield load
    for name in [name for name in sys.modules if name.startswith("sfpo.axolotl")]:
        del sys.modules[name]


def config(**entries):
    """What a plugin is given: missing entries are None."""
    defaults = {"rl": "grpo", "trainer_cls": TRAINER, "sfpo": None, "trl": None}
    return SimpleNamespace(**{**defaults, "context_parallel_size": None, "optimizer": "adamw_torch", **entries})


def build(load, cfg, tiny_model, folder, **arguments):
    """A trainer by the steps of Axolotl's builder: the classes of arguments, the arguments, the call."""
    plugin = load("sfpo.axolotl.SFPOPlugin")()
    assert set(load(plugin.get_input_args()).model_fields) == {"sfpo"}
    mixins = type("AxolotlTrainingMixins", (load(plugin.get_training_args_mixin()),), {})

    @dataclass
    class AxolotlGRPOConfig(mixins, GRPOConfig):
        context_parallel_size: int | None = None

    given = {**SETTINGS, "output_dir": str(folder), "average_tokens_across_devices": False, **arguments}
    args = AxolotlGRPOConfig(logging_first_step=True, **given, **plugin.get_training_args(cfg))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return load(cfg.trainer_cls)(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        [reward_low_digits],
        args=args,
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        callbacks=[],
        optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.0}),
        processing_class=tokenizer,
    )


def test_the_settings_of_the_configuration_make_the_step(axolotl, tiny_model, tmp_path):
    own = {"alpha": 0.5, "inner_steps": 2, **LIKE_TRL}
    ours = build(axolotl, config(sfpo=own), tiny_model, tmp_path, max_steps=1)
    assert isinstance(ours, SFPOTrainerOfTRL)
    assert {name: getattr(ours.args, name) for name in own} == own
    assert ours.args.disable_dropout
    ours.train()
    assert type(ours.optimizer.optimizer) is torch.optim.SGD
    theirs = train(
        SFPOTrainerOfTRL,
        SFPOConfig,
        tiny_model,
        tmp_path / "trl",
        max_steps=1,
        optim="sgd",
        **(own | {"learning_rate": 0.1}),
    )
    assert_same(weights(ours), weights(theirs))
    assert ours.state.log_history[0]["sfpo/passes"] == 3


def test_the_plugin_takes_the_configuration_of_the_page(axolotl):
    (block,) = [one for one in blocks_of(ROOT / "docs" / "integrations" / "axolotl.md") if one.language == "yaml"]
    entries = yaml.safe_load(block.text)
    (plugin,) = entries.pop("plugins")
    settings = axolotl(plugin)().get_training_args(config(**entries))
    assert settings == {"alpha": "auto", "kl_budget": 0.03}
    assert issubclass(axolotl(entries["trainer_cls"]), SFPOTrainerOfTRL)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"rl": None}, f"rl: grpo and trainer_cls: {TRAINER}"),
        ({"trainer_cls": None}, f"rl: grpo and trainer_cls: {TRAINER}"),
        ({"sfpo": {"alhpa": 0.5}}, "unknown setting under sfpo: 'alhpa' (did you mean alpha?)"),
        ({"trl": {"async_prefetch": True}}, "leave them out"),
        ({"context_parallel_size": 2}, "context_parallel_size=2"),
        ({"optimizer": Optimizer.FLASH_ADAMW}, "adamw_torch"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(axolotl, entries, said):
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        axolotl("sfpo.axolotl.SFPOPlugin")().get_training_args(config(**entries))
    assert "\n" not in str(refused.value)


def test_a_setting_out_of_its_range_is_refused(axolotl, tiny_model, tmp_path):
    with pytest.raises(ValueError, match="alpha must be in"):
        build(axolotl, config(sfpo={"alpha": 2.0}), tiny_model, tmp_path)
