import math

import pytest
import torch
from meta_gradient import TASKS, batch, directional, dot, log_prob, made, random_direction, ratio_loss
from torch import Tensor, nn

from metarl import seeding
from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.updates import (
    FixedStep,
    InnerUpdate,
    LearnedOptimiser,
    StepPerLayer,
    StepPerParameter,
    logarithmic,
)

NAMES = ("body.weight", "body.bias", "output.weight")


def stacked(seed: int) -> dict[str, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    shapes = ((TASKS, 2, 3), (TASKS, 2), (TASKS, 1, 2))
    return {name: torch.randn(shape, generator=stream).double() for name, shape in zip(NAMES, shapes, strict=True)}


def moved(update: InnerUpdate, steps: int) -> dict[str, Tensor]:
    """Parameters after one update at inner step `steps` of all tasks."""
    parameters, loss = stacked(0), torch.ones(TASKS).double()
    count = torch.full((TASKS,), steps)
    after, _ = update(parameters, stacked(1), loss, count, update.initial_state(parameters))
    assert isinstance(after, dict)
    return after


@pytest.mark.parametrize(("steps", "size"), [(0, 0.5), (1, 0.25), (7, 0.25)])
def test_the_last_fixed_size_holds_for_all_later_steps(steps: int, size: float) -> None:
    after, before, gradients = moved(FixedStep(0.5, 0.25), steps), stacked(0), stacked(1)
    torch.testing.assert_close(after, {name: before[name] - size * gradients[name] for name in NAMES})


def test_one_learned_size_for_each_parameter() -> None:
    update = StepPerParameter({name: p[0] for name, p in stacked(0).items()}, 0.1).double()
    torch.testing.assert_close(moved(update, 0), moved(FixedStep(0.1), 0))
    with torch.no_grad():
        update.sizes["body/weight"][0, 1, 2] = -3.0
    changed = (moved(update, 0)["body.weight"] - moved(FixedStep(0.1), 0)["body.weight"]).abs() > 1e-9
    assert changed.nonzero().tolist() == [[task, 1, 2] for task in range(TASKS)]
    torch.testing.assert_close(
        moved(update, 0)["body.weight"][:, 1, 2],
        stacked(0)["body.weight"][:, 1, 2] + 3 * stacked(1)["body.weight"][:, 1, 2],
    )


@pytest.mark.parametrize(("steps", "size"), [(0, 0.5), (1, 0.25), (7, 0.25)])
def test_learned_sizes_of_several_steps_start_where_they_are_told(steps: int, size: float) -> None:
    parameters = {name: p[0] for name, p in stacked(0).items()}
    for update in (StepPerParameter(parameters, 0.5, 0.25), StepPerLayer(NAMES, 0.5, 0.25)):
        torch.testing.assert_close(moved(update.double(), steps), moved(FixedStep(size), 0))


def test_one_learned_size_for_each_layer_and_step() -> None:
    update = StepPerLayer(NAMES, 0.1, 0.1).double()
    assert update.sizes.shape == (2, 2)  # weight and bias of a module are one layer
    with torch.no_grad():
        update.sizes.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    before, gradients = stacked(0), stacked(1)
    for steps, sizes in ((0, (0.1, 0.1, 0.2)), (1, (0.3, 0.3, 0.4)), (5, (0.3, 0.3, 0.4))):
        expected = {name: before[name] - size * gradients[name] for name, size in zip(NAMES, sizes, strict=True)}
        torch.testing.assert_close(moved(update, steps), expected, rtol=1e-6, atol=1e-6)


def test_learned_optimiser_with_constant_gates_is_decay_and_descent() -> None:
    update = LearnedOptimiser(0.1).double()
    for gate in (update.forget_gate, update.input_gate):
        nn.init.zeros_(gate.weight)
    keep = 1 / (1 + math.exp(-7))
    before, gradients = stacked(0), stacked(1)
    expected = {name: keep * before[name] - 0.1 * gradients[name] for name in NAMES}
    torch.testing.assert_close(moved(update, 0), expected)


def test_learned_optimiser_treats_every_single_parameter_by_the_same_rule_and_remembers() -> None:
    """All parameters and gradients equal: so are all updates; the second is not the first, as it has a state."""
    with seeding.initialising(0), torch.no_grad():
        update = LearnedOptimiser(0.1).double()
        for p in update.parameters():
            p.mul_(3)
    ones = {name: torch.ones_like(p) for name, p in stacked(0).items()}
    loss, count = torch.ones(TASKS).double(), torch.zeros(TASKS, dtype=torch.int64)
    first, state = update(ones, ones, loss, count, update.initial_state(ones))
    second, _ = update(ones, ones, loss, count + 1, state)
    values = [torch.cat([p.flatten() for p in after.values()]) for after in (first, second)]
    assert all((value - value[0]).abs().max() < 1e-12 for value in values)
    assert (values[0] - values[1]).abs().max() > 1e-6


def test_logarithmic_by_hand() -> None:
    x = torch.tensor([[math.e], [-math.exp(-5)], [0.0], [-math.exp(-11)]], dtype=torch.float64)
    expected = torch.tensor([[0.1, 1.0], [-0.5, -1.0], [-1.0, 0.0], [-1.0, -math.exp(-1)]], dtype=torch.float64)
    torch.testing.assert_close(logarithmic(x), expected)


def test_logarithmic_has_a_gradient_at_zero() -> None:
    x = torch.zeros(1, requires_grad=True)
    (gradient,) = torch.autograd.grad(logarithmic(x).sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", ["parameter", "layer", "lstm"])
def test_meta_gradient_of_what_is_learned_equals_finite_differences(kind: str) -> None:
    policy = made("mlp")
    names = [name for name, _ in policy.named_parameters()]
    update: InnerUpdate
    if kind == "parameter":
        update = StepPerParameter(dict(policy.named_parameters()), 0.02)
    elif kind == "layer":
        update = StepPerLayer(names, 0.02, 0.02)
    else:
        with seeding.initialising(0):
            update = LearnedOptimiser(0.02, width=3)
    update.double()
    inner = InnerLoop(policy, update)
    data = []
    for k in range(3):
        fresh = batch(k)
        with torch.no_grad():
            data.append(fresh | {"old_log_prob": inner.call(log_prob, inner.begin(TASKS), fresh)})

    def outer() -> Tensor:
        losses: Tensor = inner.call(ratio_loss, inner.adapt(ratio_loss, data[:-1]), data[-1])
        return losses.mean()

    parameters = [*policy.parameters(), *update.parameters()]
    exact = torch.autograd.grad(outer(), parameters)
    direction = random_direction(exact)
    with torch.no_grad():
        numerical = directional(outer, parameters, direction)
    torch.testing.assert_close(dot(exact, direction), numerical, rtol=1e-8, atol=0.0)


def test_sizes_that_make_no_step_are_refused() -> None:
    with pytest.raises(ValueError, match="a step size is needed"):
        FixedStep()
    for size in (0.0, -0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="step sizes must be positive"):
            FixedStep(0.1, size)
    with pytest.raises(ValueError, match="must be below 1"):
        LearnedOptimiser(1.0)
    with pytest.raises(ValueError, match="a step size is needed"):
        StepPerLayer(NAMES)
