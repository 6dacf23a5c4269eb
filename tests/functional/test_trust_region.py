import math
from collections.abc import Sequence

import pytest
import torch
from meta_gradient import TASKS, Policy, batch, log_prob, made, ratio_loss
from torch import Tensor

from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.updates import FixedStep
from metarl.distributed import flatten, unflatten
from metarl.functional.trust_region import (
    conjugate_gradient,
    curvature_product,
    damped,
    line_search,
    natural_step,
    trust_region_step,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive_definite(size: int) -> Tensor:
    root = draw(size, size)
    return root @ root.mT / size + torch.eye(size, dtype=torch.float64)


def test_flatten_and_back() -> None:
    parts = [draw(2, 3), draw(4), draw()]
    vector = flatten(parts)
    assert vector.shape == (11,)
    assert all(torch.equal(x, y) for x, y in zip(unflatten(vector, parts), parts, strict=True))


def test_conjugate_gradient_equals_a_direct_solver() -> None:
    matrix, target = positive_definite(8), draw(8, seed=1)
    x = conjugate_gradient(lambda v: matrix @ v, target, iterations=20, tolerance=1e-24)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, target), rtol=1e-9, atol=1e-10)


def test_conjugate_gradient_needs_as_many_steps_as_there_are_eigenvalues() -> None:
    diagonal = torch.tensor([1.0, 1.0, 5.0, 5.0, 5.0]).double()
    target, products = draw(5), 0

    def product(v: Tensor) -> Tensor:
        nonlocal products
        products += 1
        return diagonal * v

    torch.testing.assert_close(conjugate_gradient(product, target, 10, 1e-20), target / diagonal)
    assert products == 2


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_conjugate_gradient_does_not_depend_on_units(scale: float) -> None:
    matrix, target = positive_definite(6), draw(6, seed=1)
    x = conjugate_gradient(lambda v: matrix @ v, scale * target)
    torch.testing.assert_close(x / scale, torch.linalg.solve(matrix, target), rtol=1e-4, atol=1e-4)


def test_conjugate_gradient_of_nothing_and_of_a_broken_matrix() -> None:
    assert torch.equal(conjugate_gradient(lambda v: v, torch.zeros(3)), torch.zeros(3))
    assert torch.equal(conjugate_gradient(torch.zeros_like, torch.ones(3)), torch.zeros(3))  # flat: no step
    with pytest.raises(FloatingPointError, match="not finite"):
        conjugate_gradient(lambda v: v * math.nan, torch.ones(3))


def test_natural_step_spends_the_whole_kl_of_a_quadratic_model() -> None:
    matrix, gradient = positive_definite(6), draw(6, seed=1)
    step = natural_step(lambda v: matrix @ v, gradient, 0.01, 20)
    torch.testing.assert_close(step @ matrix @ step / 2, torch.tensor(0.01, dtype=torch.float64))
    cosine = torch.nn.functional.cosine_similarity(step, -torch.linalg.solve(matrix, gradient), dim=0)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    assert torch.equal(natural_step(lambda v: v, torch.zeros(3), 0.01), torch.zeros(3))


@pytest.mark.parametrize("kind", ["mlp", "attention"])
def test_fisher_product_through_an_inner_step_is_the_hessian_of_the_kl(kind: str) -> None:
    policy = made(kind)
    inner, data = InnerLoop(policy, FixedStep(0.02)), batch(0)
    parameters = list(policy.parameters())
    with torch.no_grad():
        data["old_log_prob"] = inner.call(log_prob, inner.begin(TASKS), data)

    def outputs() -> Tensor:
        adapted = inner.adapt(ratio_loss, [data])
        result: Tensor = inner.call(_parameters, adapted, {"observation": data["observation"]})
        return result

    def divergence(new: Sequence[Tensor]) -> Tensor:
        return policy.head.kl_divergence(old, new[0]).mean()

    current = outputs()
    old = current.detach()
    product = curvature_product([current], divergence, parameters)
    vector = draw(sum(p.numel() for p in parameters))
    slope = torch.autograd.grad(divergence([outputs()]), parameters, create_graph=True)
    exact = torch.autograd.grad(flatten(slope) @ vector, parameters)
    torch.testing.assert_close(product(vector), flatten(exact), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(damped(product, 0.5)(vector), product(vector) + 0.5 * vector)


def _parameters(policy: Policy, data: dict[str, Tensor]) -> Tensor:
    return policy.parameters_of(data["observation"])


def test_curvature_product_with_a_parameter_and_an_output_that_play_no_part() -> None:
    weight, idle = draw(3).requires_grad_(), draw(2).requires_grad_()
    outputs = [2 * weight, torch.ones(1).double()]
    product = curvature_product(outputs, lambda new: 3 * new[0].square().sum(), [weight, idle])
    vector = draw(5, seed=1)
    torch.testing.assert_close(product(vector), torch.cat([4 * 6 * vector[:3], torch.zeros(2).double()]))


def test_line_search_takes_the_first_step_that_is_short_enough() -> None:
    """Loss and KL of a bowl in one dimension: from 0 along 10, with the optimum at 1 and KL within 4."""
    start, step = torch.zeros(1), torch.tensor([10.0])

    def evaluate(x: Tensor) -> tuple[float, float]:
        return float((x - 1).square()), float(x.square())

    search = line_search(evaluate, start, step, 1.0, max_kl=4.0, shrink=0.5)
    assert search.accepted
    assert search.backtracks == 3  # 10, 5, 2.5 are too long; 1.25 is not
    torch.testing.assert_close(search.vector, torch.tensor([1.25]))
    assert (search.loss, search.kl) == (0.0625, 1.5625)
    nan = line_search(lambda _: (math.nan, 0.0), start, step, 1.0, max_kl=4.0)
    assert (nan.accepted, nan.backtracks) == (False, 15)
    assert nan.vector is start
    assert not line_search(lambda _: (0.0, math.nan), start, step, 1.0, max_kl=4.0).accepted
    assert not line_search(lambda _: (1.0, 0.0), start, step, 1.0, max_kl=4.0).accepted  # as bad is not better


def test_a_failed_step_restores_the_parameters_bit_for_bit() -> None:
    parameters = [draw(3, 2).float().requires_grad_(), draw(4).requires_grad_()]
    parameters[0].data[0, 0] = -0.0
    before = [p.detach().clone() for p in parameters]
    seen: list[float] = []

    def worse() -> tuple[float, float]:
        seen.append(float(parameters[1].detach()[0]))
        assert not torch.is_grad_enabled()
        return 2.0, 0.0

    search = trust_region_step(parameters, draw(10, seed=1), worse, 1.0, 0.01)
    assert not search.accepted
    assert len(set(seen)) == 15  # it did write
    for p, old in zip(parameters, before, strict=True):
        assert torch.equal(p, old)
        assert torch.equal(p.signbit(), old.signbit())

    def broken() -> tuple[float, float]:
        raise RuntimeError("the simulator died")

    with pytest.raises(RuntimeError, match="simulator died"):
        trust_region_step(parameters, draw(10, seed=1), broken, 1.0, 0.01)
    assert all(torch.equal(p, old) for p, old in zip(parameters, before, strict=True))


def test_an_accepted_step_is_written_into_the_parameters() -> None:
    parameters = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    step = torch.tensor([1.0, 2.0, 3.0])
    search = trust_region_step(parameters, step, lambda: (-float(parameters[1]), 0.0), 0.0, 0.01)
    assert search.accepted
    assert torch.equal(flatten(parameters), step)
