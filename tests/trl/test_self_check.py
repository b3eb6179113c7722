"""What the self-check finds, says and switches off."""

import logging

import pytest
import torch
from datasets import Dataset
from tiny_runs import PROMPTS, SETTINGS, assert_same, reward_low_digits, weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

from sfpo.errors import UsageError
from sfpo.model.capabilities import Capabilities
from sfpo.trl import SFPOConfig, SFPOTrainer, self_check
from sfpo.trl.self_check import ScoreCheck

SIZES = {
    "vocab_size": 20,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
DYNAMIC = {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10_000.0}
# What must not be shared, and why.
WRONG = {
    "ALiBi by column": ("mpt", {"vocab_size": 20, "d_model": 32, "n_layers": 2, "n_heads": 2}),
    "a local window": (
        "gpt_neo",
        {
            "vocab_size": 20, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["local"], 2]],
            "window_size": 4, "max_position_embeddings": 64, "initializer_range": 0.2,
        },
    ),
    "a rotary embedding of the length": (
        "llama", {**SIZES, "max_position_embeddings": 16, "rope_parameters": DYNAMIC}
    ),
    "no cache": ("openai-gpt", {"vocab_size": 20, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}),
}  # fmt: skip


def make_model(kind="llama", settings=SIZES):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))


def make_trainer(tiny_model, tmp_path, model, **settings):
    set_seed(0)
    return SFPOTrainer(
        model=model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(output_dir=str(tmp_path), **{**SETTINGS, "max_steps": 1, "gate": "off", **settings}),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, "sfpo")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("sfpo")]


@pytest.fixture
def all_is_allowed(monkeypatch):
    """Every model is taken to allow everything, as if its kind were not known."""
    monkeypatch.setattr(Capabilities, "of", lambda model: Capabilities(True, True))


@pytest.mark.parametrize(
    "settings", [{}, {"bf16": True}, {"steps_per_generation": 4}, {"gradient_checkpointing": True}], ids=str
)
def test_nothing_is_said_where_nothing_is_wrong(tiny_model, tmp_path, said, settings):
    trainer = make_trainer(tiny_model, tmp_path, make_model(), **settings)
    trainer.train()
    assert said() == []
    assert trainer._scorer.savings.compact
    assert trainer._rollouts._sampler is not None


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_switched_off_and_said_in_one_line_each(tiny_model, tmp_path, said, all_is_allowed, kind):
    trainer = make_trainer(tiny_model, tmp_path, make_model(*WRONG[kind]), max_completion_length=20)
    trainer.train()
    lines = said()
    wrong = "do not work with this model (" if kind == "no cache" else "do not give this model's own scores"
    assert any(f"compact passes {wrong}" in line for line in lines)
    assert all("\n" not in line for line in lines)
    assert len(lines) == len({line[:40] for line in lines}) <= 2
    assert not any(vars(trainer._scorer.savings)[name] for name in ("compact", "regroup_rows", "share_prompts"))


def test_training_goes_on_as_trl_scores(tiny_model, tmp_path, said, all_is_allowed):
    runs = []
    for switched_off in (False, True):
        settings = {"compact_passes": False} if switched_off else {}
        model = make_model(*WRONG["a local window"])
        trainer = make_trainer(tiny_model, tmp_path, model, compact_rollouts=False, max_steps=2, **settings)
        trainer.train()
        runs.append(weights(trainer))
    assert len(said()) == 1
    for name, weight in runs[0].items():  # the first batch was regrouped before
        torch.testing.assert_close(weight, runs[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["compact_passes", "compact_rollouts"])
def test_a_setting_makes_it_the_end(tiny_model, tmp_path, all_is_allowed, name):
    other = {"compact_passes": "compact_rollouts", "compact_rollouts": "compact_passes"}[name]
    model = make_model(*WRONG["a local window"])
    trainer = make_trainer(
        tiny_model, tmp_path, model, self_check_fatal=True, max_completion_length=20, **{other: False}
    )
    with pytest.raises(UsageError, match=r"^self-check: .*(passes|sampler) .*self_check_fatal") as error:
        trainer.train()
    assert "\n" not in str(error.value)


class Noisy(nn.Module):
    """Random by no rate that could be found."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.share = inner, 0.2

    def forward(self, states):
        return nn.functional.dropout(self.inner(states), self.share, self.training)


@pytest.mark.parametrize("compact", [True, False])
def test_one_pass_made_twice(tiny_model, tmp_path, said, compact):
    model = make_model()
    model.model.layers[1].mlp = Noisy(model.model.layers[1].mlp)
    trainer = make_trainer(tiny_model, tmp_path, model, compact_passes=compact, compact_rollouts=compact)
    trainer.train()
    assert [line for line in said() if "one pass made twice" in line and "random while it trains" in line]


def test_noise_with_a_rate_is_off_before(tiny_model, tmp_path, said):
    trainer = make_trainer(tiny_model, tmp_path, make_model("qwen2", {**SIZES, "attention_dropout": 0.3}))
    trainer.train()
    assert said() == []


def test_the_check_leaves_no_trace(tiny_model, tmp_path, monkeypatch):
    """Neither in the random numbers nor in the gradient."""
    runs = []
    for checks in (True, False):
        if not checks:
            monkeypatch.setattr(ScoreCheck, "before_scoring", lambda *arguments: None)
        trainer = make_trainer(tiny_model, tmp_path, make_model(), max_steps=3)
        trainer.train()
        runs.append(weights(trainer))
    assert_same(*runs)


def test_rows_that_grow_are_checked_again(tiny_model, tmp_path, monkeypatch):
    checked = []
    uneven = self_check._uneven
    monkeypatch.setattr(self_check, "_uneven", lambda rows, *size: checked.append(size) or uneven(rows, *size))
    trainer = make_trainer(tiny_model, tmp_path, make_model(), max_completion_length=100)
    trainer.model.train()
    check = trainer._score_check

    def score(prompt, completion):
        ids = torch.randint(2, 16, (4, prompt + completion))
        check.before_scoring(trainer.model, ids, torch.ones_like(ids), completion)

    for prompt, completion in [(40, 6), (40, 12), (50, 11), (30, 13), (40, 70), (63, 99)]:
        score(prompt, completion)
    assert checked == [(50, 12), (37, 26), (50, 100), (78, 100)]


def test_rows_of_a_check():
    ids = torch.tensor([[0, 0, 5, 6], [2, 3, 4, 7]])
    completions = torch.tensor([[8, 9, 10], [11, 0, 0]])
    rows = self_check._uneven(
        self_check.Rows(ids, (ids > 0).long(), completions, (completions > 0).long()), prompt=9, completion=8
    )
    prompts = [ids[mask == 1].tolist() for ids, mask in zip(rows.prompt_ids, rows.prompt_mask, strict=True)]
    assert prompts == [[2, 3, 4, 7, 2, 3, 4, 7, 2]] * 2 + [[2, 3, 4, 7, 2, 3]]
    assert rows.completion_mask.sum(1).tolist() == [8, 4, 2]
    assert set(rows.completion_ids[rows.completion_mask == 1].tolist()) <= {8, 9, 10, 11}
    assert rows.prompt_mask[:, -1].all()
    assert rows.completion_mask[:, 0].all()
