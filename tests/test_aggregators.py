from itertools import combinations

import numpy as np
import pytest
import torch
from torchjd import aggregation

from hf_multitask.aggregators import AGGREGATORS, Mean, PCGrad, Sum, UPGrad, build_aggregator

SUMS = {"Sum", "PCGrad"}


class Order:
    """Draws as torchjd does, from torch's global generator."""

    def permutation(self, count):
        return torch.randperm(count).numpy()


def jacobian(tasks, *, seed=0, numbers=7):
    """Gradients of which some agree and some conflict."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(tasks, numbers, generator=draw, dtype=torch.float64)


def joined(aggregator, gradients, *, seed=0):
    weights = aggregator(gradients @ gradients.T, draw=np.random.default_rng(seed))
    assert weights.shape == (len(gradients),)
    assert weights.dtype == gradients.dtype
    return weights @ gradients


@pytest.fixture(params=AGGREGATORS)
def aggregator(request):
    return build_aggregator({"class": request.param})


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_agreeing_gradients_are_left_alone(aggregator, tasks):
    agreeing = jacobian(tasks).abs()
    want = agreeing.sum(0) if type(aggregator).__name__ in SUMS else agreeing.mean(0)
    torch.testing.assert_close(joined(aggregator, agreeing), want)


def test_one_task_keeps_its_gradient(aggregator):
    alone = jacobian(1)
    torch.testing.assert_close(joined(aggregator, alone), alone[0])


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_weights_do_not_depend_on_the_scale(aggregator, scale):
    gradients = jacobian(3)
    torch.testing.assert_close(joined(aggregator, gradients * scale), joined(aggregator, gradients) * scale)


def test_the_same_draw_gives_the_same_weights(aggregator):
    gradients = jacobian(5, numbers=3)
    assert torch.equal(joined(aggregator, gradients, seed=1), joined(aggregator, gradients, seed=1))


def test_the_global_generators_are_left_alone(aggregator):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    joined(aggregator, jacobian(3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_a_task_without_gradient_changes_nothing_for_the_others(aggregator):
    gradients = jacobian(3)
    gradients[1] = 0
    others = gradients[[0, 2]] * (1 if type(aggregator).__name__ in SUMS else 2 / 3)
    torch.testing.assert_close(joined(aggregator, gradients), joined(aggregator, others), atol=2e-4, rtol=1e-3)


def test_no_gradient_at_all_gives_none(aggregator):
    assert not joined(aggregator, torch.zeros(3, 4, dtype=torch.float64)).any()


@pytest.mark.parametrize("name", ["PCGrad", "UPGrad"])
@pytest.mark.parametrize("seed", range(5))
def test_of_two_tasks_none_is_set_back(name, seed):
    one = jacobian(1, seed=seed)
    gradients = torch.cat([one, jacobian(1, seed=seed + 100) - 2 * one])
    assert gradients[0] @ gradients[1] < 0
    assert (gradients @ gradients.sum(0)).min() < 0
    assert (gradients @ joined(build_aggregator({"class": name}), gradients)).min() > -1e-3


@pytest.mark.parametrize(("ours", "theirs"), [(Sum(), aggregation.Sum()), (Mean(), aggregation.Mean())])
def test_plain_ones_equal_torchjd(ours, theirs):
    torch.testing.assert_close(joined(ours, jacobian(3)), theirs(jacobian(3)))


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("seed", range(10))
def test_pcgrad_equals_torchjd_in_the_same_order(tasks, seed):
    gradients = jacobian(tasks, seed=seed, numbers=4)
    gradients[0] -= gradients[1:].sum(0)
    gramian = gradients @ gradients.T
    assert gramian.min() < 0
    torch.manual_seed(seed)
    ours = PCGrad()(gramian, draw=Order()) @ gradients
    torch.manual_seed(seed)
    torch.testing.assert_close(ours, aggregation.PCGrad()(gradients), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_pcgrad_equals_the_algorithm_on_the_gradients_themselves(tasks):
    """Algorithm 1 of the paper, vector by vector."""
    gradients = jacobian(tasks, seed=3, numbers=4).numpy()
    draw, total = np.random.default_rng(7), np.zeros(4)
    for i in range(tasks):
        projected = gradients[i].copy()
        for j in draw.permutation(tasks):
            product = sum(a * b for a, b in zip(projected, gradients[j], strict=True))
            if j != i and product < 0:
                projected -= product / sum(b * b for b in gradients[j]) * gradients[j]
        total += projected
    ours = joined(PCGrad(), torch.from_numpy(gradients), seed=7)
    np.testing.assert_allclose(ours.numpy(), total, atol=1e-12)


def test_the_order_of_projections_is_drawn():
    gradients = jacobian(5, seed=3, numbers=4)
    results = [joined(PCGrad(), gradients, seed=seed) for seed in range(8)]
    assert any((result - results[0]).abs().max() > 1e-3 for result in results)


def projection(gramian, u):
    """The v >= u of least v^T G v, by trying every set of places in which v = u."""
    count, best = len(u), None
    for free in (set(s) for size in range(count + 1) for s in combinations(range(count), size)):
        inner, outer = sorted(free), sorted(set(range(count)) - free)
        v = u.copy()
        if inner:
            v[inner] = np.linalg.solve(gramian[np.ix_(inner, inner)], -gramian[np.ix_(inner, outer)] @ u[outer])
        if (v >= u - 1e-12).all() and (best is None or v @ gramian @ v < best @ gramian @ best):
            best = v
    return best


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_upgrad_solves_its_quadratic_program(tasks, seed):
    gradients = jacobian(tasks, seed=seed, numbers=4)
    gramian = (gradients @ gradients.T).numpy()
    even = gramian / np.trace(gramian) + 1e-4 * np.eye(tasks)
    want = sum(projection(even, row / tasks) for row in np.eye(tasks))
    ours = UPGrad()(torch.from_numpy(gramian), draw=np.random.default_rng(0))
    np.testing.assert_allclose(ours.numpy(), want, atol=1e-9)
    assert (gramian @ ours.numpy()).min() > -1e-3 * np.trace(gramian)
