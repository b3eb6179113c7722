"""Estimates against brute force and simulation."""

import itertools
import math
import random

import pytest

from sfpo.records.pass_at_k import effective_samples, mean_pass_at_k, pass_at_1, pass_at_k


def test_pass_at_k_is_the_share_of_draws_with_a_right_sample():
    for samples in range(1, 8):
        for correct in range(samples + 1):
            verdicts = [True] * correct + [False] * (samples - correct)
            for k in range(1, samples + 1):
                draws = list(itertools.combinations(verdicts, k))
                assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_is_unbiased():
    """Averaged over all outcomes of 6 samples it is the true chance of solving a problem in k tries."""
    chance, samples = 0.3, 6
    for k in (1, 2, 5, 6):
        expected = sum(
            math.comb(samples, c) * chance**c * (1 - chance) ** (samples - c) * pass_at_k(samples, c, k)
            for c in range(samples + 1)
        )
        assert expected == pytest.approx(1 - (1 - chance) ** k)


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_refuses_what_the_samples_cannot_say(k):
    with pytest.raises(ValueError, match="between 1 and the 4 samples"):
        pass_at_k(4, 2, k)


def test_means_over_problems():
    problems = [[True, False, False, False], [True] * 4, [False] * 4]
    assert pass_at_1(problems).value == pytest.approx((0.25 + 1 + 0) / 3)
    assert mean_pass_at_k(problems, 1) == pytest.approx(pass_at_1(problems).value)
    assert mean_pass_at_k(problems, 2) == pytest.approx((0.5 + 1 + 0) / 3)
    assert mean_pass_at_k(problems, 4) == pytest.approx(2 / 3)


def test_samples_that_agree_count_as_one():
    """Four copies of each answer say no more than the answers: the interval must not become narrower."""
    answers = [index % 3 == 0 for index in range(60)]
    once, fourfold = pass_at_1([[a] for a in answers]), pass_at_1([[a] * 4 for a in answers])
    assert fourfold.value == once.value
    assert fourfold.high - fourfold.low == pytest.approx(once.high - once.low, rel=0.02)


def test_many_problems_have_the_clustered_variance():
    """The sandwich estimator of a mean: residuals summed within a problem before they are squared."""
    problems = [[bit == "1" for bit in f"{index:04b}"] for index in range(16) for _ in range(50)]
    estimate = pass_at_1(problems)
    sums = [sum(bit - estimate.value for bit in verdicts) for verdicts in problems]
    error = math.sqrt(sum(s * s for s in sums)) / (4 * len(problems))
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * error, rel=0.01)


@pytest.mark.parametrize(("means", "low", "high"), [([0.0] * 30, 30, 30.001), ([0.5] * 400, 1580, 1600)])
def test_effective_samples_lie_between_problems_and_samples(means, low, high):
    """Nothing is known of the agreement of samples that are all wrong; samples that never agree are independent."""
    assert low <= effective_samples(means, 4 * len(means)) <= high


@pytest.mark.parametrize(("right", "low", "high"), [(False, 0.0, 0.0878), (True, 0.9122, 1.0)])
def test_all_wrong_and_all_right_are_not_certain(right, low, high):
    estimate = pass_at_1([[right] * 4] * 40)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-3)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0


@pytest.mark.parametrize("typical", [0.05, 0.4])
def test_the_interval_covers_the_truth_nineteen_times_in_twenty(typical):
    """Problems of very different difficulty; an interval of independent samples covers about 70 % here."""
    rng = random.Random(0)
    shape = 0.3
    inside = naive = 0
    trials = 1500
    for _ in range(trials):
        problems = []
        for _ in range(60):
            chance = rng.betavariate(shape * typical, shape * (1 - typical))
            problems.append([rng.random() < chance for _ in range(4)])
        estimate = pass_at_1(problems)
        inside += estimate.low <= typical <= estimate.high
        naive += abs(estimate.value - typical) <= 1.96 * math.sqrt(estimate.value * (1 - estimate.value) / 240)
    assert 0.94 <= inside / trials <= 0.98
    assert naive / trials < 0.85
