"""The trust region against a plain reference in numpy, and on a policy whose KL is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from sfpo import SlowFast, TrustRegion


def reference(passes, budget, alpha_max, mini_batches=1):
    """α as one would compute it on paper; passes as (place, KL) with the place counted in passes from θ_0."""
    places = np.arange(len(passes)) + (mini_batches - 1) / (2 * mini_batches)
    if passes[-1] > budget:
        return min(alpha_max, np.sqrt(budget / passes[-1]))
    away = places > 0
    places, kls = places[away], np.asarray(passes)[away]
    if len(kls) == 0:
        return 1.0
    if kls[-1] == 0:
        return alpha_max
    slope = 2.0
    if len(kls) > 1 and kls[-2] > 0:
        slope = np.clip(np.diff(np.log(kls[-2:]))[0] / np.diff(np.log(places[-2:]))[0], 1, 3)
    predicted = np.exp(np.log(kls[-1]) + slope * (np.log(len(passes)) - np.log(places[-1])))
    return min(alpha_max, np.sqrt(budget / predicted))


@pytest.mark.parametrize("seed", range(50))
def test_alpha_equals_the_plain_reference(seed):
    generator = np.random.default_rng(seed)
    budget, alpha_max = 10 ** generator.uniform(-3, -1), generator.uniform(1, 16)
    mini_batches = int(generator.integers(1, 5))
    passes = list(np.cumsum(10 ** generator.uniform(-6, -1, size=generator.integers(1, 7))))
    passes[0] = 0.0 if mini_batches == 1 else passes[0]
    region = TrustRegion(budget, alpha_max, mini_batches)
    assert region.alpha(passes) == pytest.approx(reference(passes, budget, alpha_max, mini_batches))


@pytest.mark.parametrize(
    ("passes", "alpha"),
    [
        ([0.0], 1.0),  # K = 1: nothing was measured away from θ_0
        ([0.0, 0.01], (0.03 / 0.04) ** 0.5),  # the square law from one pass
        ([0.0, 0.001, 0.004], (0.03 / 0.009) ** 0.5),  # the square law through two
        ([0.0, 0.001, 0.001], (0.03 / 0.0015) ** 0.5),  # flat: no less than linear
        ([0.0, 1e-6, 1e-3], (0.03 / (1e-3 * 1.5**3)) ** 0.5),  # steep: no more than cubic
        ([0.0, 0.0, 0.0], 8.0),  # nothing moved
        ([0.0, 1e-9, 1e-9], 8.0),  # hardly anything did
        ([0.0, 0.01, 0.12], 0.5),  # outside, measured at the end
    ],
)
def test_alpha_follows_the_kl(passes, alpha):
    assert TrustRegion(0.03, 8.0).alpha(passes) == pytest.approx(alpha)


def test_the_trajectory_ends_outside_and_is_not_corrected_where_one_pass_left():
    region = TrustRegion(0.03)
    assert not region.ends_trajectory([0.0, 0.03])
    assert region.ends_trajectory([0.0, 0.031])
    assert not region.corrects([0.0, 0.031])
    assert region.corrects([0.0, 0.02, 0.031])
    assert region.corrects([0.0, 0.02])


def test_the_line_search_moves_only_where_the_prediction_failed():
    region = TrustRegion(0.03)
    assert region.shortened(2.0, 0.06) == 2.0
    assert region.shortened(2.0, 0.12) == pytest.approx(1.0)
    assert region.shortened(2.0, 1e6) == pytest.approx(0.2)


def test_the_budget_shrinks_with_the_share_that_has_an_advantage():
    whole = TrustRegion(0.03, 8.0, 2)
    assert whole.for_batch(0.25) == TrustRegion(0.0075, 8.0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kl_budget": 0.0}, "kl_budget"),
        ({"kl_budget": float("nan")}, "kl_budget"),
        ({"alpha_max": 0.5}, "alpha_max"),
        ({"alpha_max": float("inf")}, "alpha_max"),
        ({"mini_batches": 0}, "mini_batches"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrustRegion(**arguments)


def test_a_kl_that_is_no_number_ends_training_and_loses_nothing():
    region = TrustRegion()
    weight = nn.Parameter(torch.ones(2))
    kls = iter([0.0, 0.001, float("nan")])

    def update():
        with torch.no_grad():
            weight.add_(1.0)
        return next(kls)

    with pytest.raises(ValueError, match="NaN"):
        SlowFast([weight], 3, region).step(update)
    assert weight.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="NaN"):
        region.shortened(1.0, float("nan"))


class Bandit:
    """A softmax policy over eight actions, trained by policy gradient on exact expectations."""

    def __init__(self, rate, region):
        generator = torch.Generator().manual_seed(0)
        self.logits = nn.Parameter(torch.randn(8, generator=generator, dtype=torch.float64))
        self.rewards = torch.randn(8, generator=generator, dtype=torch.float64)
        self.old = self.logits.detach().log_softmax(0)
        self.rate, self.region = rate, region

    def kl(self):
        """KL(π_θ0 ‖ π_θ) in nats."""
        return float((self.old.exp() * (self.old - self.logits.detach().log_softmax(0))).sum())

    def update(self):
        kl = self.kl()
        loss = -(self.logits.log_softmax(0).exp() * self.rewards).sum()
        (gradient,) = torch.autograd.grad(loss, self.logits)
        if not self.region.is_outside(kl):
            with torch.no_grad():
                self.logits.sub_(gradient, alpha=self.rate)
        return kl


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0, 3.0])
def test_the_reposition_reaches_the_edge_of_the_region_at_any_learning_rate(rate):
    region = TrustRegion(0.01, alpha_max=1000.0)
    bandit = Bandit(rate, region)
    slow_fast = SlowFast([bandit.logits], 3, region)
    with slow_fast.trajectory(bandit.update) as line:
        while line.moves_back(bandit.kl()):
            pass
        assert bandit.kl() == pytest.approx(0.01, rel=0.35)


def test_alpha_max_bounds_the_extrapolation():
    region = TrustRegion(0.01, alpha_max=4.0)
    bandit = Bandit(0.001, region)
    slow_fast = SlowFast([bandit.logits], 3, region)
    slow_fast.step(bandit.update, measure=bandit.kl)
    assert slow_fast.report.alpha == 4.0


def test_a_rate_far_too_large_ends_inside_without_a_slow_pass():
    region = TrustRegion(0.01)
    bandit = Bandit(20.0, region)
    slow_fast = SlowFast([bandit.logits], 3, region)
    slow_fast.step(bandit.update, measure=bandit.kl)
    assert len(slow_fast.report.passes) == 2
    assert slow_fast.report.alpha < 1.0
    assert bandit.kl() <= 2 * 0.01
