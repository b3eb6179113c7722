"""Two gloo processes through the trainer, DDP and FSDP2, against one process on the whole batch."""

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def one(launch):
    return launch(1, "plain", "lora")


@pytest.fixture(scope="module")
def two(launch):
    return launch(2, "plain", "lora", "fsdp2", "fsdp2_lora")


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-4, atol=1e-5, msg=name)


def history(run, key):
    return [row[key] for row in run["log"] if key in row]


@pytest.mark.parametrize("engine", ["plain", "fsdp2"])
def test_two_processes_equal_one(one, two, engine):
    first, second = two[engine]
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
    assert_close(first["weights"], one["plain"][0]["weights"])
    assert history(first, "sfpo/drift") == pytest.approx(history(one["plain"][0], "sfpo/drift"), rel=1e-4)
    assert first["rates"] == one["plain"][0]["rates"]


def test_alpha_is_decided_once_for_all_processes(one, two):
    first, second = two["plain"]
    assert first["alphas"] == second["alphas"] == one["plain"][0]["alphas"]
    # Of all completions, where each process sampled others.
    assert first["own_entropies"] != second["own_entropies"]
    assert history(first, "sfpo/entropy") == pytest.approx(history(one["plain"][0], "sfpo/entropy"), rel=1e-5)
    assert history(first, "sfpo/entropy") != pytest.approx(first["own_entropies"], rel=1e-3)


def test_fsdp2_copies_its_shard_alone(one, two):
    whole = history(one["plain"][0], "sfpo/snapshot_bytes")[0]
    for run in two["fsdp2"][:1]:
        assert history(run, "sfpo/snapshot_bytes")[0] <= 0.55 * whole


@pytest.mark.parametrize("scenario", ["lora", "fsdp2_lora"])
def test_lora_copies_and_moves_its_adapters_alone(one, two, tiny_model, scenario):
    adapters = {name: weight for name, weight in one["lora"][0]["weights"].items() if "lora_" in name}
    held = sum(weight.nbytes for weight in adapters.values())
    run = two[scenario][0]
    assert history(run, "sfpo/snapshot_bytes")[0] == held / (2 if scenario.startswith("fsdp2") else 1)
    assert_close(run["weights"], one["lora"][0]["weights"])
    base = load_file(f"{tiny_model}/model.safetensors")
    for name, weight in run["weights"].items():
        if "lora_" not in name:
            start = base[name.removeprefix("base_model.model.").replace(".base_layer", "")]
            assert torch.equal(weight, start.to(weight.dtype)), name
