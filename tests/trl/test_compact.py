"""Cheap passes against TRL's own scoring: same loss, same gradient up to the order of floating-point sums."""

from itertools import combinations, pairwise

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer, RLOOTrainer

from sfpo.model.prefill import _FORWARD_COST
from sfpo.trl import SFPOConfig, SFPORLOOConfig, SFPORLOOTrainer, SFPOTrainer
from sfpo.trl.compact import Rows, _rectangles, score
from sfpo.trl.micro_batch import regroup, rows_without_gradient
from sfpo.trl.rollouts import distinct_share
from sfpo.trl.self_check import ScoreCheck

ROWS, PROMPT, COMPLETION = 12, 5, 7

SETTINGS = {
    "per_device_train_batch_size": ROWS,
    "num_generations": 4,
    "max_completion_length": COMPLETION,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "gate": "off",
    "epsilon": 0.05,
}


def micro_batch(seed=0):
    """Three groups of four, the second without a gradient, of uneven lengths; π_old a little off the policy."""
    generator = torch.Generator().manual_seed(seed)
    prompt_lengths = torch.tensor([5, 2, 3]).repeat_interleave(4)
    lengths = torch.tensor([7, 1, 3, 7, 2, 5, 4, 1, 6, 6, 2, 3])
    prompts = torch.randint(2, 16, (3, PROMPT), generator=generator).repeat_interleave(4, dim=0)
    columns = torch.arange(PROMPT)
    advantages = torch.randn(3, 4, generator=generator)
    advantages[1] = 0.0
    return {
        "prompt_ids": prompts,
        "prompt_mask": (columns >= PROMPT - prompt_lengths[:, None]).long(),
        "completion_ids": torch.randint(2, 16, (ROWS, COMPLETION), generator=generator),
        "completion_mask": (torch.arange(COMPLETION) < lengths[:, None]).long(),
        "advantages": advantages.flatten(),
        "num_items_in_batch": lengths.sum(),
        "old_per_token_logps": -2.5 + 0.2 * torch.randn(ROWS, COMPLETION, generator=generator),
        "ref_per_token_logps": torch.full((ROWS, COMPLETION), -2.5),
    }


@pytest.fixture(autouse=True)
def _no_self_check(monkeypatch):
    """Which makes forwards of its own, where these tests count forwards."""
    monkeypatch.setattr(ScoreCheck, "before_scoring", lambda *arguments: None)


def make_trainer(tiny_model, tmp_path, compact_passes, trainer_class=SFPOTrainer, config_class=SFPOConfig, **settings):
    trainer = trainer_class(
        model=AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32),
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        args=config_class(str(tmp_path), compact_passes=compact_passes, **{**SETTINGS, **settings}),
        train_dataset=Dataset.from_dict({"prompt": ["1+1="] * 8}),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def loss_and_gradient(trainer, inputs):
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}


def assert_same_pass(ours, theirs):
    assert ours[0] == pytest.approx(theirs[0], abs=1e-6, rel=1e-5)
    largest = max(gradient.abs().max() for gradient in theirs[1].values())
    assert largest > 1e-3
    for name, gradient in theirs[1].items():
        torch.testing.assert_close(ours[1][name], gradient, rtol=1e-4, atol=1e-5 * float(largest))


@pytest.mark.parametrize("known_at_start", [False, True], ids=["pass 0", "later pass"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "settings",
    [
        *({"loss_type": loss} for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo")),
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
        {"importance_sampling_level": "sequence"},
        {"beta": 0.1},
        {"top_entropy_quantile": 0.5},
        {"entropy_coef": 0.01},
        {"off_policy_mask_threshold": 0.01},
        {"delta": 1.5},
        {"temperature": 0.7},
        {"gradient_checkpointing": True},
        {"cast_lm_head_to_fp32": True},
    ],
    ids=str,
)
def test_loss_and_gradient_are_those_of_trl(tiny_model, tmp_path, settings, attention, known_at_start):
    settings = settings | {"model_init_kwargs": None}
    passes = []
    for compact in (True, False):
        trainer = make_trainer(tiny_model, tmp_path, compact, **settings)
        trainer.model.set_attn_implementation(attention)
        inputs = micro_batch()
        if not known_at_start:
            del inputs["old_per_token_logps"]
        elif compact:
            inputs["entropies_at_start"] = torch.ones(ROWS, COMPLETION)
        passes.append(loss_and_gradient(trainer, inputs))
    assert_same_pass(*passes)


def test_a_common_beginning_of_the_prompts_is_encoded_once(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setitem(_FORWARD_COST, "cpu", 0)
    beginning = torch.tensor([5, 3, 9, 4, 11, 2, 7, 6, 13, 8])
    inputs = micro_batch()
    rows = zip(inputs["prompt_ids"], inputs["prompt_mask"].bool(), strict=True)
    prompts = [torch.cat([torch.zeros(int((~mask).sum())).long(), beginning, ids[mask]]) for ids, mask in rows]
    inputs["prompt_ids"] = torch.stack(prompts)
    inputs["prompt_mask"] = nn.functional.pad(inputs["prompt_mask"], (len(beginning), 0), value=1)
    inputs["prompt_mask"] = inputs["prompt_mask"].sort(dim=1).values
    trainers = [make_trainer(tiny_model, tmp_path, compact, beta=0.1) for compact in (True, False)]
    assert_same_pass(*(loss_and_gradient(trainer, dict(inputs)) for trainer in trainers))
    # The beginning once, three prompts of at most 5 tokens but for the last, twelve completions in three rectangles.
    seen = tokens_seen(trainers[0], inputs)[True]
    assert seen == len(beginning) + 3 * 4 + int(inputs["completion_mask"].sum())


@pytest.mark.parametrize("settings", [{}, {"beta": 0.1}, {"gradient_checkpointing": True}], ids=str)
def test_equal_completions_of_a_prompt_are_scored_once(tiny_model, tmp_path, settings):
    inputs = micro_batch()
    length = 5
    for row in (5, 8, 10, 11):  # of the second prompt, and of the third
        inputs["completion_ids"][row, :length] = torch.tensor([7, 3, 2, 9, 4])
        inputs["completion_mask"][row] = torch.arange(COMPLETION) < length
    inputs["num_items_in_batch"] = inputs["completion_mask"].sum()
    assert len(set(inputs["advantages"][[5, 8, 10, 11]].tolist())) == 4
    trainers = [make_trainer(tiny_model, tmp_path, compact, **settings) for compact in (True, False)]
    assert_same_pass(*(loss_and_gradient(trainer, dict(inputs)) for trainer in trainers))
    if settings == {"beta": 0.1}:  # all rows have a gradient, and prompts are apart
        assert tokens_seen(trainers[0], inputs)[True] == 3 * 4 + 10 * 7


def test_how_many_completions_are_different(tiny_model, tmp_path):
    reduce = make_trainer(tiny_model, tmp_path, True)._step_log.reduce
    inputs = micro_batch()
    assert distinct_share(inputs, reduce) == 1.0
    for name in ("completion_ids", "completion_mask"):
        inputs[name][9:11] = inputs[name][8]
        inputs[name][7] = inputs[name][6]  # without an advantage
    # The first group has 7, 1, 3 and 7 tokens, the third 6, 6, 6 and 3.
    assert distinct_share(inputs, reduce) == pytest.approx((18 + 9) / (18 + 21))
    inputs["advantages"].zero_()
    assert distinct_share(inputs, reduce) == 1.0


def test_rloo_too(tiny_model, tmp_path):
    passes = []
    for compact in (True, False):
        trainer = make_trainer(tiny_model, tmp_path, compact, SFPORLOOTrainer, SFPORLOOConfig)
        inputs = micro_batch()
        inputs["old_logps"] = (inputs.pop("old_per_token_logps") * inputs["completion_mask"]).sum(1)
        passes.append(loss_and_gradient(trainer, inputs))
    assert_same_pass(*passes)


def test_the_host_scores_where_the_trainer_does(tiny_model, tmp_path, monkeypatch):
    """Guards the tests above: with compact passes TRL's own scoring is not called at all."""

    def refuse(*args, **kwargs):
        raise AssertionError("TRL's scoring was called")

    for host in (GRPOTrainer, RLOOTrainer):
        monkeypatch.setattr(host, "_get_per_token_logps_and_entropies", refuse)
    loss_and_gradient(make_trainer(tiny_model, tmp_path, True), micro_batch())
    with pytest.raises(AssertionError, match="TRL's scoring"):
        loss_and_gradient(make_trainer(tiny_model, tmp_path, False), micro_batch())


def tokens_seen(trainer, inputs):
    """Tokens that go through the first layer, with and without a gradient."""
    seen = {True: 0, False: 0}

    def count(module, args, output):
        seen[torch.is_grad_enabled()] += args[0].shape[0] * args[0].shape[1]

    hook = trainer.model.model.layers[0].mlp.register_forward_hook(count)
    loss_and_gradient(trainer, inputs)
    hook.remove()
    return seen


def test_what_is_left_out(tiny_model, tmp_path):
    padded = tokens_seen(make_trainer(tiny_model, tmp_path, False), micro_batch())
    assert padded == {True: ROWS * (PROMPT + COMPLETION), False: 0}

    trainer = make_trainer(tiny_model, tmp_path, True)
    inputs = micro_batch()
    del inputs["old_per_token_logps"]
    first = tokens_seen(trainer, inputs)
    # Two prompts with a gradient, of 5 and 3 tokens but for the last, and eight completions of at most 7 tokens.
    assert first[True] == 2 * 4 + 8 * 7
    assert first[False] == 1 * 1 + 4 * 5
    # Later passes know what they need of the other group.
    assert tokens_seen(trainer, inputs) == {True: first[True], False: 0}
    # A KL term has a gradient everywhere.
    with_kl = tokens_seen(make_trainer(tiny_model, tmp_path, True, beta=0.1), micro_batch())
    assert with_kl == {True: 3 * 4 + 12 * 7, False: 0}


def test_long_rows_do_not_stretch_short_ones(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setitem(_FORWARD_COST, "cpu", 2)
    passes = []
    for compact_passes in (True, False):
        passes.append(loss_and_gradient(make_trainer(tiny_model, tmp_path, compact_passes), micro_batch()))
    assert_same_pass(*passes)
    seen = tokens_seen(make_trainer(tiny_model, tmp_path, True), micro_batch())
    # 35 completion tokens in the two groups with a gradient; uncut they would take 56.
    assert 35 <= seen[True] - 8 <= 35 / 0.8


@pytest.mark.parametrize("forward_cost", [0, 3, 8, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_rectangles_cost_least(forward_cost, seed):
    lengths = torch.randint(0, 12, (9,), generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(12) < lengths[:, None]).long()
    rectangles = list(_rectangles(Rows(mask, mask, mask, mask), False, forward_cost))
    assert sorted(torch.cat(rectangles).tolist()) == lengths.nonzero()[:, 0].tolist()

    def cost(parts):
        return sum(max(part) * len(part) + forward_cost for part in parts)

    ordered = sorted(lengths[lengths > 0].tolist())
    cuts = range(1, len(ordered))
    every_way = [
        [ordered[start:end] for start, end in pairwise([0, *chosen, len(ordered)])]
        for count in range(len(ordered))
        for chosen in combinations(cuts, count)
    ]
    assert cost([lengths[part].tolist() for part in rectangles]) == min(map(cost, every_way))


def test_a_micro_batch_without_any_gradient_gives_zeros(tiny_model, tmp_path):
    trainer = make_trainer(tiny_model, tmp_path, True)
    inputs = micro_batch() | {"advantages": torch.zeros(ROWS)}
    loss, gradients = loss_and_gradient(trainer, inputs)
    assert loss == 0.0
    assert all(not gradient.any() for gradient in gradients.values())


def test_a_micro_batch_of_masked_completions_gives_zeros(tiny_model, tmp_path):
    trainer = make_trainer(tiny_model, tmp_path, True)
    inputs = micro_batch()
    inputs["completion_mask"].zero_()
    loss, gradients = loss_and_gradient(trainer, inputs)
    assert loss == 0.0
    assert all(not gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("one_forward", [True, False])
def test_rows_of_masked_completions_have_scores_of_zero(tiny_model, tmp_path, one_forward):
    """As a chunk of a batch may be, where completions that were cut off are masked."""
    trainer = make_trainer(tiny_model, tmp_path, True)
    inputs = micro_batch()
    inputs["completion_mask"].zero_()
    rows = Rows(*(inputs[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")))
    scores = score(
        trainer.model, rows, trainer._scorer._head(), share_prompts=not one_forward, one_forward=one_forward
    )
    for of_tokens in scores:
        assert of_tokens.shape == (ROWS, COMPLETION)
        assert not of_tokens.any()


def test_rows_without_gradient():
    inputs = micro_batch()
    assert rows_without_gradient(inputs).tolist() == [False] * 4 + [True] * 4 + [False] * 4
    # Cut-off completions that TRL masks out have no gradient either.
    inputs["completion_mask"][0] = 0
    assert rows_without_gradient(inputs).tolist() == [True] + [False] * 3 + [True] * 4 + [False] * 4
    # The cheapest row stays where all would go.
    inputs["advantages"].zero_()
    assert rows_without_gradient(inputs).tolist() == [row != 1 for row in range(ROWS)]
    inputs["completion_mask"].zero_()
    assert rows_without_gradient(inputs) is None
    # Per-token advantages count as zero only where every token's is.
    per_token = micro_batch()
    per_token["advantages"] = torch.zeros(ROWS, COMPLETION)
    per_token["advantages"][3, 2] = 1.0
    assert rows_without_gradient(per_token).tolist() == [row != 3 for row in range(ROWS)]


def test_regroup_moves_whole_rows_within_an_optimizer_step():
    whole = micro_batch() | {"row": torch.arange(ROWS), "absent": None}
    shuffled = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    parts = []
    for index in range(4):
        chosen = shuffled[index * 3 : index * 3 + 3]
        parts.append({n: v[chosen] if isinstance(v, torch.Tensor) and v.dim() else v for n, v in whole.items()})
    regrouped = regroup(parts, size=4)
    assert [len(part["row"]) for part in regrouped] == [3] * 4
    rows = torch.cat([part["row"] for part in regrouped])
    assert sorted(rows.tolist()) == list(range(ROWS))
    # Groups stay together, the one without a gradient last.
    assert {*rows[8:].tolist()} == {4, 5, 6, 7}
    assert {*rows[:4].tolist()} in ({0, 1, 2, 3}, {8, 9, 10, 11})
    for part in regrouped:
        for name in ("completion_ids", "advantages"):
            assert torch.equal(part[name], whole[name][part["row"]])
        assert part["num_items_in_batch"] == whole["num_items_in_batch"]
    halves = regroup(parts, size=2)
    for half in (slice(0, 2), slice(2, 4)):
        before, after = (torch.cat([p["row"] for p in many[half]]).tolist() for many in (parts, halves))
        assert sorted(before) == sorted(after)
