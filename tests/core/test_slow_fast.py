"""The core against closed forms and against a plain reference that keeps every copy it likes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sfpo import SlowFast
from sfpo.slow_fast import SlowFastReport
from sfpo.snapshot import CPU_CHUNK


def quadratic(hessian, rate):
    """Weights and one plain SGD pass on 0.5 θᵀHθ."""
    theta = nn.Parameter(torch.linspace(1.0, 2.0, len(hessian), dtype=torch.float64))

    def update():
        loss = 0.5 * theta @ hessian @ theta
        (gradient,) = torch.autograd.grad(loss, theta)
        with torch.no_grad():
            theta.sub_(gradient, alpha=rate)
        return loss.item()

    return theta, update


@pytest.mark.parametrize(("inner_steps", "alpha"), [(1, 0.5), (3, 0.8), (5, 0.3), (3, 1.0)])
def test_unified_formula_on_a_quadratic(inner_steps, alpha):
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    hessian, rate = root @ root.T / 6, 0.1
    theta, update = quadratic(hessian, rate)
    start = theta.detach().clone()

    SlowFast([theta], inner_steps, alpha).step(update)

    # θ_next = θ_0 - η [α Σ_k ∇L(θ_k) + ∇L(θ̃)], every gradient written out.
    point, gradients = start, torch.zeros_like(start)
    for _ in range(inner_steps):
        gradients += hessian @ point
        point = point - rate * (hessian @ point)
    repositioned = start + alpha * (point - start)
    expected = start - rate * (alpha * gradients + hessian @ repositioned)
    torch.testing.assert_close(theta.detach(), expected, rtol=1e-14, atol=1e-14)


def test_contraction_per_eigenvalue_damps_high_curvature():
    eigenvalues = torch.tensor([0.01, 0.1, 1.0, 10.0, 19.0, 19.9], dtype=torch.float64)
    rate, inner_steps, alpha = 0.1, 3, 0.8
    theta, update = quadratic(torch.diag(eigenvalues), rate)
    start = theta.detach().clone()
    SlowFast([theta], inner_steps, alpha).step(update)
    measured = theta.detach() / start

    shrink = 1 - rate * eigenvalues
    torch.testing.assert_close(measured, shrink * (1 - alpha + alpha * shrink**inner_steps))
    # Low-pass: flat directions advance by nearly 1 + αK plain steps ...
    assert (1 - measured[0]) / (1 - shrink[0]) == pytest.approx(1 + alpha * inner_steps, rel=0.01)
    # ... while at the edge of stability (η λ near 2) a plain pass keeps oscillating and SFPO damps it.
    assert abs(shrink[-1]) > 0.98
    assert abs(measured[-1]) < 0.65
    assert abs(measured[-1]) < abs(shrink[-1] ** (inner_steps + 1))


class Chosen:
    """A rule that ends the trajectory after `length` passes, takes the first α, and moves back to the others in turn."""

    def __init__(self, *alphas, length=99, corrected=True):
        self.first, *self.rest = alphas
        self.length = length
        self.corrected = corrected
        self.asked = []

    def ends_trajectory(self, passes):
        return len(passes) >= self.length

    def alpha(self, passes):
        self.asked.append(list(passes))
        return self.first

    def corrects(self, passes):
        return self.corrected

    def shortened(self, alpha, measured):
        self.asked.append((alpha, measured))
        return self.rest.pop(0) if self.rest else alpha


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_a_rules_alpha_extrapolates_along_the_trajectory(alpha):
    hessian, rate = torch.diag(torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)), 0.1
    theta, update = quadratic(hessian, rate)
    start = theta.detach().clone()
    rule = Chosen(alpha)
    slow_fast = SlowFast([theta], 3, rule)
    assert slow_fast.report.alpha != slow_fast.report.alpha  # NaN: the rule has yet to choose
    last = slow_fast.step(update)

    shrink = 1 - rate * torch.diag(hessian)
    expected = start * shrink * (1 - alpha + alpha * shrink**3)
    torch.testing.assert_close(theta.detach(), expected, rtol=1e-13, atol=1e-13)
    assert rule.asked == [slow_fast.report.passes[:3]]
    assert slow_fast.report.passes[3] == last
    assert (slow_fast.report.alpha, slow_fast.report.line_search_steps) == (alpha, 0)


def test_the_line_search_moves_back_along_one_line_from_the_one_copy():
    hessian, rate = torch.diag(torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)), 0.1
    theta, update = quadratic(hessian, rate)
    start = theta.detach().clone()
    end = start * (1 - rate * torch.diag(hessian)) ** 3
    rule = Chosen(4.0, 2.0, 0.3)
    seen = []

    def measure():
        seen.append(theta.detach().clone())
        return float(len(seen))

    slow_fast = SlowFast([theta], 3, rule)
    slow_fast.step(update, measure=measure)
    for at, alpha in zip(seen, (4.0, 2.0, 0.3), strict=True):
        torch.testing.assert_close(at, start + alpha * (end - start), rtol=1e-13, atol=1e-13)
    assert rule.asked[1:] == [(4.0, 1.0), (2.0, 2.0), (0.3, 3.0)]
    assert slow_fast.report.line_search_steps == 2
    assert slow_fast.report.alpha == 0.3
    torch.testing.assert_close(theta.detach(), seen[-1] * (1 - rate * torch.diag(hessian)), rtol=1e-13, atol=1e-13)


def test_a_rule_that_chooses_zero_has_the_slow_pass_made_at_the_start():
    theta, update = quadratic(torch.eye(2, dtype=torch.float64), 0.1)
    start = theta.detach().clone()
    slow_fast = SlowFast([theta], 3, Chosen(0.0))
    slow_fast.step(update, measure=lambda: 0.0)
    torch.testing.assert_close(theta.detach(), start * 0.9)
    assert (len(slow_fast.report.passes), slow_fast.report.line_search_steps) == (4, 0)


def test_the_line_search_never_moves_forward():
    theta, update = quadratic(torch.eye(2, dtype=torch.float64), 0.1)
    start = theta.detach().clone()
    rule = Chosen(2.0, 3.0)
    slow_fast = SlowFast([theta], 3, rule)
    slow_fast.step(update, measure=lambda: 0.0)
    assert (slow_fast.report.alpha, slow_fast.report.line_search_steps) == (2.0, 0)
    torch.testing.assert_close(theta.detach(), (start + 2.0 * (start * 0.9**3 - start)) * 0.9)


def test_a_rule_may_end_the_trajectory_early():
    theta, update = quadratic(torch.eye(2, dtype=torch.float64), 0.1)
    start = theta.detach().clone()
    slow_fast = SlowFast([theta], 5, Chosen(1.0, length=2))
    slow_fast.step(update)
    assert len(slow_fast.report.passes) == 3
    torch.testing.assert_close(theta.detach(), start * 0.9**3)


def test_a_rule_may_leave_the_slow_pass_out():
    theta, update = quadratic(torch.eye(2, dtype=torch.float64), 0.1)
    start = theta.detach().clone()
    slow_fast = SlowFast([theta], 5, Chosen(0.5, length=1, corrected=False))
    assert slow_fast.step(update) == slow_fast.report.passes[0]
    assert len(slow_fast.report.passes) == 1
    torch.testing.assert_close(theta.detach(), start * 0.95)


def test_a_number_is_never_moved_back():
    theta, update = quadratic(torch.eye(2, dtype=torch.float64), 0.1)
    slow_fast = SlowFast([theta], 3, 0.8)
    slow_fast.step(update, measure=lambda: 1e9)
    assert (slow_fast.report.alpha, slow_fast.report.line_search_steps) == (0.8, 0)


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_a_rules_impossible_alpha_is_refused_and_loses_nothing(alpha):
    theta, update = quadratic(torch.eye(2, dtype=torch.float64), 0.1)
    start = theta.detach().clone()
    with pytest.raises(ValueError, match="finite alpha of at least 0"):
        SlowFast([theta], 3, Chosen(alpha)).step(update)
    assert torch.equal(theta, start)


def network(dtype):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 4)).to(dtype)


def adamw_pass(model, optimizer, batch):
    inputs, targets = batch

    def update():
        loss = nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return update


def batches(dtype, count=100):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield torch.randn(32, 8, generator=generator).to(dtype), torch.randn(32, 4, generator=generator).to(dtype)


def reference_step(model, update, inner_steps, alpha):
    """SFPO as one would write it down first: whole copies of the weights, out of place."""
    if alpha == 0:
        return update()
    theta_0 = copy.deepcopy(model.state_dict())
    for _ in range(inner_steps):
        update()
    theta_k = copy.deepcopy(model.state_dict())
    model.load_state_dict({name: torch.lerp(theta_k[name], theta_0[name], 1 - alpha) for name in theta_0})
    return update()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_plain_reference_bit_for_bit(dtype):
    fast, plain = network(dtype), network(dtype)
    fast_optimizer = torch.optim.AdamW(fast.parameters(), lr=3e-3, weight_decay=0.1)
    plain_optimizer = torch.optim.AdamW(plain.parameters(), lr=3e-3, weight_decay=0.1)
    slow_fast = SlowFast(fast.parameters(), inner_steps=3, alpha=0.8)
    for step, batch in enumerate(batches(dtype)):
        alpha = 0.0 if step % 7 == 6 else 0.8
        fast_loss = slow_fast.step(adamw_pass(fast, fast_optimizer, batch), alpha)
        plain_loss = reference_step(plain, adamw_pass(plain, plain_optimizer, batch), 3, alpha)
        assert fast_loss == plain_loss
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(fast_optimizer.state.values(), plain_optimizer.state.values(), strict=True):
        assert torch.equal(ours["exp_avg_sq"], theirs["exp_avg_sq"])
        assert ours["step"] == theirs["step"]


@pytest.mark.parametrize(("alpha", "passes"), [(1.0, 4), (0.0, 1)])
def test_the_ends_of_alpha_are_plain_passes(alpha, passes):
    ours, theirs = network(torch.float32), network(torch.float32)
    our_optimizer = torch.optim.AdamW(ours.parameters(), lr=1e-2)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    slow_fast = SlowFast(ours.parameters(), inner_steps=3, alpha=alpha)
    for batch in batches(torch.float32, count=5):
        slow_fast.step(adamw_pass(ours, our_optimizer, batch))
        for _ in range(passes):
            adamw_pass(theirs, their_optimizer, batch)()
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(our, their)


def test_report_says_what_the_step_did():
    theta = nn.Parameter(torch.tensor([3.0, 4.0]))
    frozen = nn.Parameter(torch.ones(1000), requires_grad=False)
    moves = iter([1.0, 2.0, 10.0])

    def update():
        move = next(moves)
        with torch.no_grad():
            theta[0] += move
        return move

    slow_fast = SlowFast([theta, frozen], inner_steps=2, alpha=0.5)
    assert slow_fast.step(update) == 10.0
    assert theta.tolist() == [3.0 + 0.5 * 3.0 + 10.0, 4.0]
    assert slow_fast.report.passes == [1.0, 2.0, 10.0]
    assert slow_fast.report.drift == pytest.approx(3.0 / 5.0)
    assert slow_fast.report.bytes_held == theta.nbytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "shape_it",
    [lambda w: w, lambda w: w.view(-1, 2).t(), lambda w: w[:0], lambda w: w[0]],
    ids=["", "t", "empty", "0-d"],
)
def test_weights_of_many_chunks_and_any_layout_are_moved_whole(dtype, shape_it):
    start = shape_it(torch.randn(2 * CPU_CHUNK + 6, generator=torch.Generator().manual_seed(0)).to(dtype))
    theta = nn.Parameter(start.clone())
    assert theta.is_contiguous() == start.is_contiguous()

    def update():
        with torch.no_grad():
            theta.mul_(1.5)

    slow_fast = SlowFast([theta], inner_steps=1, alpha=0.8)
    with slow_fast.trajectory(update):
        assert torch.equal(theta, torch.lerp(start * 1.5, start, 1.0 - 0.8))
    assert slow_fast.report.start_norm == pytest.approx(start.double().norm().item(), rel=1e-6)
    assert slow_fast.report.distance == pytest.approx((start * 1.5 - start).double().norm().item(), rel=1e-6)


def test_a_closed_gate_takes_no_snapshot():
    theta = nn.Parameter(torch.ones(3))
    slow_fast = SlowFast([theta], inner_steps=3)
    slow_fast.step(lambda: "only pass", alpha=0.0)
    assert slow_fast.report.passes == ["only pass"]
    assert slow_fast.report.bytes_held == 0
    assert slow_fast.report.drift == 0.0


@pytest.mark.parametrize("failing_pass", [0, 2, 3])
def test_a_failing_pass_puts_the_weights_back(failing_pass):
    theta = nn.Parameter(torch.tensor([1.0, 2.0]))
    done = []

    def update():
        with torch.no_grad():
            theta.mul_(torch.inf)  # what is put back must not depend on where the weights went
        if len(done) == failing_pass:
            raise RuntimeError("out of memory")
        done.append(None)

    with pytest.raises(RuntimeError, match="out of memory"):
        SlowFast([theta], inner_steps=3, alpha=0.8).step(update)
    assert theta.tolist() == [1.0, 2.0]


def test_a_weight_listed_twice_moves_once():
    theta = nn.Parameter(torch.zeros(1))

    def update():
        with torch.no_grad():
            theta.add_(1.0)

    SlowFast([theta, theta], inner_steps=2, alpha=0.5).step(update)
    assert theta.item() == 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner_steps": 0}, r"inner_steps \(K\) must be at least 1, got 0"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SlowFast([nn.Parameter(torch.ones(1))], **arguments)


def test_a_bad_alpha_of_one_step_is_refused_before_it_begins():
    theta = nn.Parameter(torch.ones(1))
    slow_fast = SlowFast([theta])
    with pytest.raises(ValueError, match="alpha"):
        slow_fast.step(lambda: pytest.fail("a pass was made"), alpha=1.1)


def test_defaults_are_the_papers():
    slow_fast = SlowFast([nn.Parameter(torch.ones(1))])
    assert (slow_fast.inner_steps, slow_fast.alpha, slow_fast.snapshot_device) == (3, 0.8, None)
    assert slow_fast.report == SlowFastReport(alpha=0.8, distance=0.0, start_norm=0.0, bytes_held=0, passes=[])
    assert SlowFast([nn.Parameter(torch.ones(1))], snapshot_device="cpu").snapshot_device == torch.device("cpu")


def test_the_snapshot_of_a_cpu_may_be_asked_for_on_the_cpu():
    theta = nn.Parameter(torch.tensor([2.0]))

    def update():
        with torch.no_grad():
            theta.mul_(2.0)

    slow_fast = SlowFast([theta], inner_steps=1, alpha=0.5, snapshot_device="cpu")
    with slow_fast.trajectory(update):
        assert theta.item() == 3.0
    assert slow_fast.report.bytes_held == theta.nbytes
    assert slow_fast.report.distance == 2.0


def test_weights_that_start_at_zero_have_a_finite_drift():
    report = SlowFastReport(alpha=0.8, distance=1e-30, start_norm=0.0)
    assert report.drift == 1e-30 / torch.finfo(torch.float32).tiny
    assert SlowFastReport(alpha=0.8).drift == 0.0


def test_weights_with_gaps_between_them_are_moved_and_their_neighbours_left_alone():
    storage = torch.arange(12.0).view(3, 4)
    theta = storage[:, :2].requires_grad_()  # neither it nor its transpose is contiguous

    def update():
        with torch.no_grad():
            theta.add_(1.0)

    with SlowFast([theta], inner_steps=1, alpha=0.5).trajectory(update):
        expected = torch.arange(12.0).view(3, 4)
        expected[:, :2] += 0.5
        assert torch.equal(storage.detach(), expected)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        SlowFast([torch.ones(1)])


def test_core_imports_torch_only():
    import ast
    import sys
    from pathlib import Path

    import sfpo

    core = ("snapshot", "slow_fast", "gxpo", "gate", "trust_region")
    for name in core:
        tree = ast.parse((Path(sfpo.__file__).parent / f"{name}.py").read_text())
        modules = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module)])
        }
        others = modules - {f"sfpo.{one}" for one in core}
        assert {module.split(".")[0] for module in others} <= {"torch", *sys.stdlib_module_names}


def test_numbers_of_numpy_are_no_rules():
    theta = nn.Parameter(torch.zeros(1))
    assert SlowFast([theta], inner_steps=2, alpha=np.float32(0.5)).alpha == 0.5
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 2"):
        SlowFast([theta], inner_steps=2, alpha=np.int64(2))
