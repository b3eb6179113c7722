"""GXPO against the closed form and against a plain reference that keeps every copy it likes."""

import copy

import pytest
import torch
from torch import nn

from sfpo.gxpo import GXPO, extrapolation
from sfpo.snapshot import CPU_CHUNK


def sgd_on_a_quadratic(curvature, rate=0.1):
    """Weights, optimizer and one pass on 0.5 Σ h θ²."""
    theta = nn.Parameter(torch.linspace(1.0, 2.0, len(curvature), dtype=torch.float64))
    optimizer = torch.optim.SGD([theta], lr=rate)

    def one_pass():
        optimizer.zero_grad()
        (0.5 * (curvature * theta.square()).sum()).backward()
        optimizer.step()

    return theta, optimizer, one_pass


@pytest.mark.parametrize("virtual_steps", [2, 3, 5, 10])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_two_passes_reach_the_point_of_k_on_a_diagonal_quadratic(virtual_steps, alpha):
    # Each keeps the scale within its bounds: ratios 1 - ηh from 1 - 1e-3 down to just above 0.
    curvature = torch.tensor([0.01, 0.5, 2.0, 5.0, 9.9], dtype=torch.float64)
    shrink = 1 - 0.1 * curvature
    theta, optimizer, one_pass = sgd_on_a_quadratic(curvature)
    start = theta.detach().clone()
    gxpo = GXPO(optimizer, virtual_steps, alpha)
    with gxpo.trajectory(one_pass):
        expected = start * (1 - alpha + alpha * shrink**virtual_steps)
        torch.testing.assert_close(theta.detach(), expected, rtol=1e-12, atol=1e-12)
        one_pass()
    torch.testing.assert_close(theta.detach(), expected * shrink, rtol=1e-12, atol=1e-12)
    assert gxpo.report.distance == pytest.approx((start * (1 - shrink**2)).norm().item(), rel=1e-6)
    assert gxpo.report.start_norm == pytest.approx(start.norm().item(), rel=1e-6)
    assert len(gxpo.report.passes) == 2


@pytest.mark.parametrize(
    ("g0", "g1", "scale"),
    [
        (1.0, 1.0, 5 / 2),  # a constant gradient: K passes go K/2 times as far as two
        (-2.0, -1.0, 1.9375 / 1.5),
        (1.0, 0.0, 1.0),
        (1.0, 2.0, 3.5),  # 31/3, above K/2 + 1
        (1.0, 100.0, 3.5),
        (1.0, -0.5, 1.375),
        (1.0, -5.0, 1.0),  # as at -2: 11 / -1, below 1
        (1.0, -1.0, 1.0),  # two passes lead nowhere
        (0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0),
        (1e-9, 1e-9, 1.0),
    ],
)
def test_the_scale_of_a_coordinate(g0, g1, scale):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        measured = extrapolation(torch.tensor([g0], dtype=dtype), torch.tensor([g1], dtype=dtype), 5)
        assert measured.item() == pytest.approx(scale, rel=1e-6)


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=generator), torch.randn(8, 3, generator=generator)) for _ in range(count)]


def passes(model, optimizer, batch):
    def one_pass():
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()

    return one_pass


def reference_step(model, optimizer, batch, virtual_steps, alpha, restored):
    """GXPO's step with whole copies of everything, and the powers of r written out."""
    parameters = list(model.parameters())
    one_pass = passes(model, optimizer, batch)
    start, state = [p.detach().clone() for p in parameters], copy.deepcopy(optimizer.state_dict())
    one_pass()
    first = [p.grad.clone() for p in parameters]
    one_pass()
    for parameter, origin, gradient in zip(parameters, start, first, strict=True):
        ratio = (parameter.grad / gradient).clamp(-2.0, 3.0)
        scale = sum(ratio**k for k in range(virtual_steps)) / (1 + ratio)
        scale = torch.where(gradient.abs() > 1e-8, scale.clamp(1.0, virtual_steps / 2 + 1), 1.0)
        parameter.data = origin + alpha * scale * (parameter.data - origin)
    if restored:
        optimizer.load_state_dict(state)
    one_pass()


@pytest.mark.parametrize("moments", ["restored", "running"])
@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda weights: torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.1),
        lambda weights: torch.optim.SGD(weights, lr=1e-2, momentum=0.9),
    ],
    ids=["adamw", "momentum"],
)
def test_it_is_the_plain_reference(make_optimizer, moments):
    ours, theirs = make_model(), make_model()
    optimizer, their_optimizer = make_optimizer(ours.parameters()), make_optimizer(theirs.parameters())
    gxpo = GXPO(optimizer, 5, 0.5, moments)
    for batch in batches(6):
        one_pass = passes(ours, optimizer, batch)
        with gxpo.trajectory(one_pass):
            one_pass()
        reference_step(theirs, their_optimizer, batch, 5, 0.5, restored=moments == "restored")
        for weight, their_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(weight, their_weight, rtol=1e-5, atol=1e-7)
        assert 1.0 <= gxpo.report.extrapolation <= 3.5
    steps = {int(state["step"]) for state in optimizer.state.values() if "step" in state}
    assert steps <= {6 if moments == "restored" else 18}


def test_with_alpha_zero_it_is_one_plain_pass():
    theta, optimizer, one_pass = sgd_on_a_quadratic(torch.ones(2, dtype=torch.float64))
    start = theta.detach().clone()
    with GXPO(optimizer, 5, 0.0).trajectory(one_pass):
        one_pass()
    torch.testing.assert_close(theta.detach(), start * 0.9)


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("begun", [False, True])
def test_an_error_puts_weights_and_state_back(failing, begun):
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch = batches(1)[0]
    one_pass = passes(model, optimizer, batch)
    if begun:
        one_pass()
    start, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    calls = 0

    def fails():
        nonlocal calls
        one_pass()
        calls += 1
        if calls == failing + 1:
            raise RuntimeError("out of memory")

    def slow_pass_fails():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"), GXPO(optimizer).trajectory(fails):
        slow_pass_fails()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, start[name])
    after = optimizer.state_dict()["state"]
    assert after.keys() == state["state"].keys()
    for index, saved in state["state"].items():
        assert all(torch.equal(after[index][name], value) for name, value in saved.items())


def test_the_copies_of_a_step_are_counted():
    theta, optimizer, one_pass = sgd_on_a_quadratic(torch.ones(5, dtype=torch.float64))
    gxpo = GXPO(optimizer)
    with gxpo.trajectory(one_pass):
        pass
    assert gxpo.report.bytes_held == 2 * theta.nbytes  # plain SGD has no state
    adam = torch.optim.Adam([theta])
    gxpo = GXPO(adam)
    for _ in range(2):
        with gxpo.trajectory(adam.step):
            adam.step()
    assert gxpo.report.bytes_held == 4 * theta.nbytes + 4  # two moments, and the count of steps in fp32


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_of_many_chunks_are_moved_whole(transposed):
    weight = torch.linspace(1.0, 2.0, 3 * CPU_CHUNK // 2).view(3, -1)
    theta = nn.Parameter(weight.t() if transposed else weight)
    frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    unused = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([theta, frozen, unused], lr=0.1)

    def one_pass():
        optimizer.zero_grad()
        theta.square().sum().backward()
        optimizer.step()

    start = theta.detach().clone()
    with GXPO(optimizer, 4, 0.5).trajectory(one_pass):
        pass
    torch.testing.assert_close(theta.detach(), start * (0.5 + 0.5 * 0.8**4))
    assert torch.equal(unused.detach(), torch.ones(2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"virtual_steps": 1}, "at least 2"), ({"alpha": 1.1}, "alpha"), ({"moments": "kept"}, "restored, running")],
)
def test_what_is_out_of_range_is_refused(settings, said):
    _, optimizer, _ = sgd_on_a_quadratic(torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match=said):
        GXPO(optimizer, **settings)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        GXPO(torch.optim.SGD([torch.ones(2)]))
