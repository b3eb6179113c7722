"""Two gloo processes under DDP and FSDP2, each trained by TRL's own loop, against one process on the whole batch."""

import pytest
import torch
import torch.distributed as dist

from sfpo import EntropyGate

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed"),
]


@pytest.fixture(scope="module")
def both(launch):
    from worker import SCENARIOS

    return launch(*(name for name in SCENARIOS if name.startswith(("ddp", "fsdp2"))))


@pytest.fixture(scope="module")
def alone(train_alone):
    return train_alone("ddp")


def test_ranks_end_bit_identical(both):
    for name, (first, second) in both.items():
        assert_equal(first["weights"], second["weights"], name)


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_equal_one_on_the_whole_batch(both, alone, engine):
    assert_same_training(both[engine][0], alone)


def test_greedy_baselines_on_two_processes_equal_those_on_one(both, train_alone):
    result, plain = both["ddp_remax"][0], train_alone("ddp_remax")
    assert_same_training(result, plain, keys=["sfpo/pass_3/kl", "sfpo/greedy_reward"])
    assert history(result, "sfpo/rollouts") == history(plain, "sfpo/rollouts") == [20, 40]


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_lora_on_two_processes_equals_one(both, train_alone, engine):
    result = both[f"{engine}_lora"][0]
    for name, weight in train_alone("ddp_lora")["weights"].items():
        torch.testing.assert_close(result["weights"][name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_completions_without_a_gradient_are_left_out(both, train_alone, engine):
    compact, plain = both[f"{engine}_compact"], train_alone("ddp_some_idle")
    # Ratios and KL are those of the completions with a gradient.
    assert_same_training(compact[0], plain, keys=["sfpo/pass_3/grad_norm"])
    for rank in compact:
        # Two micro-batches a pass: whole in the first pass, where their entropies are not known yet.
        assert [rank["rows_scored"][step : step + 2] for step in (0, 8)] == [[4, 4], [4, 4]]
    # The forwards of the ranks are as many, and of different sizes.
    assert len(compact[0]["rows_scored"]) == len(compact[1]["rows_scored"]) == 2 * 4 * 2
    assert compact[0]["rows_scored"] != compact[1]["rows_scored"]
    assert {1, 4} <= {*compact[0]["rows_scored"], *compact[1]["rows_scored"]}


def test_and_in_several_mini_batches(both):
    compact, plain = both["ddp_compact_mini_batches"], both["ddp_some_idle_mini_batches"][0]
    assert_same_training(compact[0], plain, keys=["sfpo/pass_3/grad_norm"])
    assert min(compact[0]["rows_scored"]) < 4


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_alpha_is_decided_once_for_all_ranks(both, engine):
    first, second = both[engine]
    alphas = history(first, "sfpo/alpha")
    assert alphas == history(second, "sfpo/alpha")
    assert history(first, "sfpo/entropy") == history(second, "sfpo/entropy")
    own = []
    for rank in (first, second):
        gate = EntropyGate(alpha=0.8, window=2, threshold=0.5, sides="upper", mode="reversible")
        own.append([gate.update(entropy) for entropy in rank["own_entropies"]])
    assert own[0] != own[1]  # each by itself would have gone its own way


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_snapshot_and_reposition_are_of_local_shards(both, alone, engine):
    whole = history(alone, "sfpo/snapshot_bytes")[0]
    share = history(both[engine][0], "sfpo/snapshot_bytes")[0] / whole
    assert share == 1 if engine == "ddp" else share == pytest.approx(0.5, abs=0.05)
    for stage in both[engine][0]["stages"]:
        for name, start in stage["start"].items():
            expected = start + 0.8 * (stage["end"][name] - start)
            torch.testing.assert_close(stage["forward"][name], expected, rtol=1e-6, atol=1e-7)


def test_a_closed_gate_is_grpo_bit_for_bit(both):
    ours, theirs = both["ddp_closed"][0], both["ddp_grpo"][0]
    assert_equal(ours["weights"], theirs["weights"])
    for key in ("loss", "grad_norm", "learning_rate"):
        assert history(ours, key) == history(theirs, key)


@pytest.mark.parametrize("scenario", ["ddp_auto", "fsdp2_auto", "ddp_auto_outside", "fsdp2_auto_outside"])
def test_a_kl_budget_leads_all_ranks_to_the_alpha_of_one_process(both, train_alone, scenario):
    first, second = both[scenario]
    plain = train_alone(scenario.replace("fsdp2", "ddp"))
    for key in ("sfpo/alpha", "sfpo/kl_budget", "sfpo/kl_predicted", "sfpo/passes"):
        assert history(first, key) == history(second, key), key
        assert history(first, key) == pytest.approx(history(plain, key), rel=1e-3), key
    for name, weight in plain["weights"].items():
        torch.testing.assert_close(first["weights"][name], weight, rtol=1e-4, atol=1e-6)
    alphas = history(first, "sfpo/alpha")
    assert (max(alphas) < 1) if "outside" in scenario else (min(alphas) > 0 and alphas != [0.8, 0.8])


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_gxpo_extrapolates_on_all_ranks_as_on_one(both, train_alone, engine):
    first, second = both[f"{engine}_gxpo"]
    plain = train_alone("ddp_gxpo")
    assert_same_training(first, plain, keys=["sfpo/pass_2/kl"])
    for key in ("sfpo/extrapolation", "sfpo/drift"):
        assert history(first, key) == history(second, key), key
        assert history(first, key) == pytest.approx(history(plain, key), rel=1e-3), key
    assert min(history(first, "sfpo/extrapolation")) > 1.1


def test_gxpo_copies_the_shards_of_weights_gradient_and_moments(both):
    result = both["fsdp2_gxpo_adam"][0]
    size = sum(weight.nbytes for weight in result["weights"].values())
    # The first of two mini-batches finds no optimizer's state.
    assert [held / size for held in history(result, "sfpo/snapshot_bytes")] == pytest.approx([1.0, 2.0], rel=0.1)
    assert history(result, "sfpo/optimizer_steps_per_rollout_batch") == [6, 6]


def test_steps_and_schedule_of_mini_batches(both):
    result = both["ddp_mini_batches"][0]
    # Two mini-batches, each the batch of one step of the schedule; all passes but the slow one at the first's rate.
    assert result["rates"] == pytest.approx([1e-2] * 7 + [0.5e-2])
    assert history(result, "learning_rate") == pytest.approx([1e-2, 0.5e-2])
    assert history(result, "sfpo/optimizer_steps_per_rollout_batch") == [8]


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_lora_copies_and_moves_only_the_adapters(both, engine):
    result = both[f"{engine}_lora"][0]
    start, end = result["stages"][0]["start"], result["weights"]
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    adapters = sum(weight.nbytes for name, weight in end.items() if "lora_" in name)
    share = history(result, "sfpo/snapshot_bytes")[0] / adapters
    assert share == 1 if engine == "ddp" else share == pytest.approx(0.5, abs=0.05)


def assert_same_training(result, plain, keys=("sfpo/pass_3/kl",)):
    moved = max((plain["weights"][n] - w).abs().max() for n, w in plain["stages"][0]["start"].items())
    assert moved > 1e-2
    for name, weight in plain["weights"].items():
        torch.testing.assert_close(result["weights"][name], weight, rtol=1e-4, atol=1e-6)
    for key in ("loss", "grad_norm", "sfpo/drift", "sfpo/entropy", "sfpo/alpha", *keys):
        assert history(result, key) == pytest.approx(history(plain, key), rel=1e-4, abs=1e-6)


def assert_equal(ours, theirs, name=""):
    assert ours.keys() == theirs.keys()
    for weight in ours:
        assert torch.equal(ours[weight], theirs[weight]), (name, weight)


def history(result, key):
    return [row[key] for row in result["log"] if key in row]
