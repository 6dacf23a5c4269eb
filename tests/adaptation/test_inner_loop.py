from collections.abc import Callable
from typing import Any

import pytest
import torch
from meta_gradient import (
    TASKS,
    Policy,
    adapted_one_by_one,
    batch,
    dice_by_ratios,
    dice_loss,
    directional,
    dot,
    log_prob,
    made,
    random_direction,
    ratio_loss,
)
from torch import Tensor, nn

from metarl.adaptation.inner_loop import Adapted, InnerLoop, mean_meta_gradient
from metarl.adaptation.stacked import task_chunks, tasks_at_once
from metarl.adaptation.updates import FixedStep
from metarl.functional.losses import valid_mean
from metarl.nn.context_vector import ContextVector

SIZE = 0.005  # an attention policy bends so sharply that numbers need small steps
Loss = Callable[[Policy, Any], Tensor]
LOSSES: dict[str, tuple[Loss, Loss]] = {"ratio": (ratio_loss, ratio_loss), "dice": (dice_loss, dice_by_ratios)}


def recorded(inner: InnerLoop[Policy], loss: Loss, steps: int) -> list[dict[str, Tensor]]:
    """Data of each inner step and of the outer loss, with log-probabilities of the parameters that sampled it."""
    adapted, data = inner.begin(TASKS), []
    with torch.no_grad():
        for k in range(steps + 1):
            fresh = batch(k)
            data.append(fresh | {"old_log_prob": inner.call(log_prob, adapted, fresh)})
            adapted = inner.step(loss, adapted, data[-1]) if k < steps else adapted
    return data


def outer_loss(inner: InnerLoop[Policy], loss: Loss, data: list[dict[str, Tensor]]) -> Tensor:
    """The mean over tasks of the likelihood-ratio loss after adaptation."""
    losses: Tensor = inner.call(ratio_loss, inner.adapt(loss, data[:-1]), data[-1])
    return losses.mean()


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("estimator", ["ratio", "dice"])
@pytest.mark.parametrize("kind", ["mlp", "attention"])
def test_meta_gradient_equals_finite_differences(kind: str, estimator: str, steps: int) -> None:
    policy = made(kind)
    loss, honest = LOSSES[estimator]
    inner = InnerLoop(policy, FixedStep(SIZE))
    data = recorded(inner, loss, steps)
    parameters = list(policy.parameters())
    exact = torch.autograd.grad(outer_loss(inner, loss, data), parameters)
    direction = random_direction(exact)
    with torch.no_grad():
        numerical = directional(lambda: outer_loss(inner, honest, data), parameters, direction)
    torch.testing.assert_close(dot(exact, direction), numerical, rtol=1e-8, atol=0.0)


@pytest.mark.parametrize("estimator", ["ratio", "dice"])
@pytest.mark.parametrize("kind", ["mlp", "attention", "gru"])
def test_all_tasks_at_once_equals_a_plain_loop(kind: str, estimator: str) -> None:
    policy, loss = made(kind), LOSSES[estimator][0]
    inner = InnerLoop(policy, FixedStep(SIZE))
    data = recorded(inner, loss, 3)
    adapted = inner.adapt(loss, data[:-1]).parameters
    expected = adapted_one_by_one(policy, loss, data[:-1], SIZE)
    for name, value in adapted.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in expected]), rtol=1e-10, atol=1e-13)
    total, parameters = torch.zeros((), dtype=torch.float64), list(policy.parameters())
    for task, own in enumerate(expected):
        alone = Adapted({name: p[None] for name, p in own.items()}, {}, {}, torch.ones(1), torch.zeros(1))
        total = total + inner.call(ratio_loss, alone, {k: x[task : task + 1] for k, x in data[-1].items()})[0] / TASKS
    torch.testing.assert_close(
        torch.autograd.grad(outer_loss(inner, loss, data), parameters),
        torch.autograd.grad(total, parameters),
        rtol=1e-9,
        atol=1e-12,
    )


def test_stacked_and_one_by_one_agree_on_derivatives_too() -> None:
    policy, gradients = made("attention"), []
    for stacked in (True, False):
        inner = InnerLoop(policy, FixedStep(SIZE), stacked=stacked)
        data = recorded(inner, dice_loss, 2)
        gradients.append(torch.autograd.grad(outer_loss(inner, dice_loss, data), list(policy.parameters())))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("chunk", [1, 2, None])
def test_chunks_of_tasks_add_up_to_the_whole(chunk: int | None) -> None:
    policy = made("mlp")
    inner = InnerLoop(policy, FixedStep(SIZE))
    data = recorded(inner, ratio_loss, 2)
    parameters = list(policy.parameters())

    def outer(part: slice) -> Tensor:
        own = [{name: x[part] for name, x in step.items()} for step in data]
        losses: Tensor = inner.call(ratio_loss, inner.adapt(ratio_loss, own[:-1], part.start), own[-1])
        return losses

    losses, gradient = mean_meta_gradient(outer, TASKS, parameters, chunk)
    whole = outer_loss(inner, ratio_loss, data)
    torch.testing.assert_close(losses.mean(), whole.detach())
    torch.testing.assert_close(gradient, list(torch.autograd.grad(whole, parameters)), rtol=1e-10, atol=1e-13)
    with torch.no_grad():
        together, apart = (inner.step(ratio_loss, inner.begin(TASKS), data[0], c) for c in (None, chunk))
    torch.testing.assert_close(apart.parameters, together.parameters)


def test_chunks_cover_all_tasks_and_hold_at_least_one() -> None:
    assert list(task_chunks(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert tasks_at_once(2000, torch.device("cpu")) == 8
    assert tasks_at_once(10**6, torch.device("cpu")) == 1
    assert tasks_at_once(2000, torch.device("cuda")) > 8
    with pytest.raises(ValueError, match="at least 1 at once, got 0"):
        list(task_chunks(5, 0))


def test_first_order_gradient_is_the_outer_gradient_at_the_adapted_parameters() -> None:
    policy = made("mlp")
    inner = InnerLoop(policy, FixedStep(SIZE), second_order=False)
    data = recorded(inner, ratio_loss, 2)
    gradient = torch.autograd.grad(outer_loss(inner, ratio_loss, data), list(policy.parameters()))
    adapted = inner.adapt(ratio_loss, data[:-1])
    stacked = list(adapted.parameters.values())
    expected = torch.autograd.grad(inner.call(ratio_loss, adapted, data[-1]).sum() / TASKS, stacked)
    torch.testing.assert_close(gradient, tuple(g.sum(0) for g in expected))


class Point(nn.Module):
    """A number, with another that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
        self.spare = nn.Parameter(torch.zeros(1))


def bowl(point: Point, data: dict[str, Tensor]) -> Tensor:
    """curvature * (x - centre)² / 2"""
    return (data["curvature"] * (point.x - data["centre"]).square() / 2).sum()


BOWLS = {"curvature": torch.tensor([1.0, 0.5]).double(), "centre": torch.tensor([0.0, 5.0]).double()}


def test_quadratic_in_closed_form_with_and_without_a_proximal_term() -> None:
    """Each step maps x - x* to (1 - size (curvature + proximal)) (x - x*), where x* is the regularised optimum."""
    point = Point()
    for proximal in (0.0, 2.0):
        inner = InnerLoop(point, FixedStep(0.1), ["x"], proximal=proximal)
        adapted = inner.adapt(bowl, [BOWLS] * 3).parameters["x"].squeeze(1)
        curvature, centre = BOWLS["curvature"], BOWLS["centre"]
        optimum = (curvature * centre + proximal * 2.0) / (curvature + proximal)
        shrink = (1 - 0.1 * (curvature + proximal)) ** 3
        torch.testing.assert_close(adapted, optimum + shrink * (2.0 - optimum))
        (slope,) = torch.autograd.grad(adapted.sum(), point.x)
        moved = proximal / (curvature + proximal)  # how far the regularised optimum follows the start
        torch.testing.assert_close(slope, (moved + shrink * (1 - moved)).sum()[None])


def test_tasks_may_be_at_different_steps() -> None:
    """Task 0 begins anew after a step; sizes .1 then .2 go by each task's own count."""
    inner = InnerLoop(Point(), FixedStep(0.1, 0.2), ["x"])
    with torch.no_grad():
        once = inner.step(bowl, inner.begin(2), BOWLS)
        mixed = once.put(torch.tensor([0]), inner.begin(1))
        twice = inner.step(bowl, mixed, BOWLS)
    assert twice.steps.tolist() == [1, 2]
    assert twice.take(torch.tensor([1])).steps.tolist() == [2]
    second = once.parameters["x"][1, 0] - 0.2 * 0.5 * (once.parameters["x"][1, 0] - 5)
    torch.testing.assert_close(twice.parameters["x"][:, 0], torch.stack([torch.tensor(2 - 0.1 * 2).double(), second]))


def test_without_gradients_the_result_is_the_same_and_connected_to_nothing() -> None:
    policy = made("mlp")
    inner = InnerLoop(policy, FixedStep(SIZE))
    data = recorded(inner, ratio_loss, 2)
    with torch.no_grad():
        plain = inner.adapt(ratio_loss, data[:-1])
    connected = inner.adapt(ratio_loss, data[:-1])
    for name, value in plain.parameters.items():
        assert not value.requires_grad
        assert connected.parameters[name].requires_grad
        assert torch.equal(value, connected.parameters[name])
    again = inner.step(ratio_loss, plain, data[-1])  # plain values adapt further, outside of no_grad too
    assert not any(p.requires_grad for p in again.parameters.values())


@pytest.mark.parametrize(
    ("pattern", "layer"), [("output.*", "output"), ("*.query_key_value.*", "memory.blocks.0.attention.query_key_value")]
)
def test_only_what_is_asked_for_adapts_and_all_the_rest_is_meta_learned(pattern: str, layer: str) -> None:
    policy = made("attention")
    inner = InnerLoop(policy, FixedStep(SIZE), [pattern])
    data = recorded(inner, ratio_loss, 2)
    adapted = inner.adapt(ratio_loss, data[:-1])
    assert set(adapted.parameters) == {f"{layer}.weight", f"{layer}.bias"}
    assert all((p.std(0) > 0).any() for p in adapted.parameters.values())
    parameters = list(policy.parameters())
    exact = torch.autograd.grad(outer_loss(inner, ratio_loss, data), parameters)
    direction = random_direction(exact)
    with torch.no_grad():
        numerical = directional(lambda: outer_loss(inner, ratio_loss, data), parameters, direction)
    torch.testing.assert_close(dot(exact, direction), numerical, rtol=1e-8, atol=0.0)


def test_a_context_vector_adapts_a_shared_network() -> None:
    """One step on (x . w + c v - y)² moves the context c by -2 size (x w - y) v."""
    network = nn.Sequential(ContextVector(1), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        network.get_parameter("1.weight").copy_(torch.tensor([[2.0, 3.0]]))

    def loss(network: nn.Module, data: dict[str, Tensor]) -> Tensor:
        prediction: Tensor = network(data["x"])
        return (prediction - data["y"]).square().sum()

    data = {"x": torch.ones(2, 1).double(), "y": torch.tensor([[2.0], [4.0]]).double()}
    adapted = InnerLoop(network, FixedStep(0.1), ["*.value"]).adapt(loss, [data])
    assert list(adapted.parameters) == ["0.value"]
    torch.testing.assert_close(adapted.parameters["0.value"], torch.tensor([[0.0], [-0.1 * 2 * (2 - 4) * 3]]).double())


def test_random_draws_differ_between_tasks_and_follow_the_generator() -> None:
    policy = made("mlp")
    inner = InnerLoop(policy, FixedStep(SIZE))
    observation = torch.zeros(TASKS, 5, 1, 2, dtype=torch.float64)

    def draw(seed: int) -> Tensor:
        stream = torch.Generator().manual_seed(seed)

        def sample(policy: Policy, data: dict[str, Tensor]) -> Tensor:
            return policy.head.sample(policy.parameters_of(data["observation"]), stream)

        with torch.no_grad():
            actions: Tensor = inner.call(sample, inner.begin(TASKS), {"observation": observation})
        return actions

    assert len(set(draw(0).flatten().tolist())) == draw(0).numel()
    assert torch.equal(draw(0), draw(0))


def test_parameters_that_cannot_adapt_are_refused() -> None:
    policy = made("mlp")
    with pytest.raises(ValueError, match=r"no parameter matches 'head\.\?'.*encoder\.weight"):
        InnerLoop(policy, FixedStep(SIZE), ["head.?"])
    policy.encoder.weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"encoder\.weight cannot adapt: frozen"):
        InnerLoop(policy, FixedStep(SIZE))
    assert "encoder.weight" not in InnerLoop(policy, FixedStep(SIZE), ["output.*"]).names
    with pytest.raises(ValueError, match="proximal must be at least 0"):
        InnerLoop(policy, FixedStep(SIZE), ["output.*"], proximal=-1.0)


def test_bad_inner_losses_are_refused_by_task_and_step() -> None:
    point = Point()
    both, one = InnerLoop(point, FixedStep(0.1)), InnerLoop(point, FixedStep(0.1), ["x"])
    with pytest.raises(ValueError, match=r"inner step 0, tasks 6 to 7: the loss does not depend on spare"):
        both.adapt(bowl, [BOWLS], first_task=6)
    with pytest.raises(ValueError, match=r"inner step 0, tasks 0 to 1: the loss does not depend on x"):
        one.adapt(lambda _, data: data["centre"].square(), [BOWLS])
    with pytest.raises(ValueError, match=r"one number a task, got shape \(1,\)"):
        one.adapt(lambda p, data: p.x * data["centre"], [BOWLS])
    broken = BOWLS | {"centre": torch.tensor([0.0, torch.nan]).double()}
    with pytest.raises(FloatingPointError, match="inner step 1, task 7: the loss is not finite"):
        one.adapt(bowl, [BOWLS, broken], first_task=6)
    with pytest.raises(FloatingPointError, match="inner step 0, task 7: the loss is not finite"), torch.no_grad():
        one.step(bowl, one.begin(2, first_task=6), broken, chunk=1)
    with pytest.raises(ValueError, match=r"data\['curvature'\] must be of 3 tasks, got 2"):
        one.step(bowl, one.begin(3), BOWLS)


def test_a_step_that_overflows_and_data_without_a_valid_step_are_refused() -> None:
    point = Point()
    steep = BOWLS | {"curvature": torch.tensor([1.0, 1e300], dtype=torch.float64)}
    with pytest.raises(FloatingPointError, match="inner step 0, task 1: the step of x is not finite"):
        InnerLoop(point, FixedStep(1e10), ["x"]).adapt(bowl, [steep])
    masked = BOWLS | {"valid": torch.tensor([[True, False], [False, False]])}
    with pytest.raises(ValueError, match="inner step 0, task 1: no step of the data is valid"):
        InnerLoop(point, FixedStep(0.1), ["x"]).adapt(bowl, [masked])
    assert valid_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool)).isnan()
