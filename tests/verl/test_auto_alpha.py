"""α chosen by a trust region on verl's worker, against verl's own passes, on one and two gloo processes (FSDP2)."""

import math

import pytest
import torch
from auto_alpha_runs import BUDGETS, run_all
from test_worker import assert_same
from worker_runs import INNER_STEPS, MINI_BATCHES

from sfpo.verl.whole_passes import WholePassTrustRegion


@pytest.fixture(scope="module", params=[1, 2], ids=["1-rank", "2-ranks"])
def ranks(request, tiny_model, tmp_path_factory):
    """What each rank found."""
    folder = tmp_path_factory.mktemp("auto_alpha")
    torch.multiprocessing.spawn(run_all, args=(request.param, tiny_model, str(folder)), nprocs=request.param)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(request.param)]


def predicted_on_paper(kls):
    """KL at the end of the fast passes: a power law through the last two, each measured half-way between its steps."""
    places = [index + (MINI_BATCHES - 1) / (2 * MINI_BATCHES) for index in range(len(kls))]
    exponent = 2.0
    if len(kls) > 1:
        exponent = min(3.0, max(1.0, math.log(kls[-1] / kls[-2]) / math.log(places[-1] / places[-2])))
    return kls[-1] * (len(kls) / places[-1]) ** exponent


@pytest.mark.parametrize("case", ["wide", "narrow", "every_row"])
def test_equals_the_step_by_hand(ranks, case):
    for result in ranks:
        assert_same(result[case]["sfpo"], result[case]["by_hand"])


@pytest.mark.parametrize(("case", "budget"), [("wide", "wide"), ("narrow", "narrow"), ("every_row", "wide")])
def test_alpha_follows_from_the_kl_of_the_passes(ranks, case, budget):
    found = ranks[0][case]
    metrics, kls = found["sfpo"]["metrics"], found["kls"]
    share = 1.0 if case == "every_row" else found["share"]
    assert metrics["sfpo/active_share"] == pytest.approx(share)
    assert metrics["sfpo/kl_budget"] == pytest.approx(BUDGETS[budget] * share)
    fast = kls[:-1] if "sfpo/kl_reached" in metrics else kls
    assert metrics["sfpo/kl_predicted"] == pytest.approx(predicted_on_paper(fast), rel=1e-3)
    alpha = math.sqrt(BUDGETS[budget] * share / predicted_on_paper(fast))
    assert metrics["sfpo/alpha"] == pytest.approx(min(100.0, alpha), rel=1e-3)
    assert metrics["sfpo/line_search_steps"] == 0


def test_inside_the_region_all_passes_are_made(ranks):
    found = ranks[0]["wide"]
    metrics = found["sfpo"]["metrics"]
    assert metrics["sfpo/passes"] == INNER_STEPS + 1
    assert 1.0 < metrics["sfpo/alpha"] < 100.0
    assert metrics["sfpo/kl_reached"] == pytest.approx(found["kl_at_the_last_start"], rel=1e-3)
    # One that verl's own metric, a mean of the log-ratio over all completions, would not pass for.
    assert metrics["sfpo/kl_reached"] != pytest.approx(metrics[f"sfpo/pass_{INNER_STEPS}/ppo_kl"][0], rel=1e-2)


def test_a_pass_that_leaves_the_region_is_the_last(ranks):
    found = ranks[0]["narrow"]["sfpo"]
    metrics = found["metrics"]
    assert metrics["sfpo/passes"] == 1
    assert 0.0 < metrics["sfpo/alpha"] < 0.1
    assert "sfpo/kl_reached" not in metrics
    # Its optimizer steps were made, and the schedule's step although no slow pass was.
    assert {int(state["step"]) for state in found["optimizer"]} == {MINI_BATCHES}
    assert metrics["sfpo/optimizer_steps_per_rollout_batch"] == MINI_BATCHES
    assert found["schedule"] == 1
    assert len(metrics["lr"]) == 1


@pytest.mark.parametrize("case", ["wide", "narrow", "every_row"])
def test_ranks_agree(ranks, case):
    first = ranks[0][case]["sfpo"]
    for result in ranks[1:]:
        other = result[case]["sfpo"]
        assert_same(first, other)
        for name in ("alpha", "active_share", "kl_budget", "kl_predicted", "kl_reached", "passes"):
            assert first["metrics"].get(f"sfpo/{name}") == other["metrics"].get(f"sfpo/{name}"), name


def test_without_an_advantage_it_is_verls_own_update(ranks):
    for result in ranks:
        ours, verls = result["without_an_advantage"]["sfpo"], result["without_an_advantage"]["verl"]
        assert_same(ours, verls)
        assert ours["metrics"]["sfpo/alpha"] == ours["metrics"]["sfpo/active_share"] == 0
        assert ours["metrics"]["sfpo/passes"] == 1


def test_a_pass_outside_has_gone_on_from_where_it_measured():
    region = WholePassTrustRegion(0.03)
    assert region.ends_trajectory([0.0, 0.12])
    assert region.predicted_kl([0.0, 0.12]) == pytest.approx(0.48)
    assert region.alpha([0.0, 0.12]) == pytest.approx(0.25)
    assert not region.corrects([0.0, 0.12])
    assert region.predicted_kl([0.0, 0.02, 0.08]) == pytest.approx(0.18)
    assert region.corrects([0.0, 0.02, 0.08])
    assert isinstance(region.for_batch(0.5), WholePassTrustRegion)
