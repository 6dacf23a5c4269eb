import pytest
import torch
from torch import Tensor

from metarl.functional.losses import dice, likelihood_ratio, log_likelihood, valid_mean
from metarl.functional.returns import episode_cumsum

ALL = torch.ones(1, 2, dtype=torch.bool)


def test_episode_cumsum_by_hand() -> None:
    x = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    done = torch.tensor([False, True, False, False, True])
    assert episode_cumsum(x, done).tolist() == [1, 3, 4, 12, 28]
    assert episode_cumsum(x, torch.zeros(5, dtype=torch.bool)).tolist() == [1, 3, 7, 15, 31]
    assert episode_cumsum(x, torch.ones(5, dtype=torch.bool)).tolist() == x.tolist()


def test_episode_cumsum_equals_a_loop_and_leaks_nothing() -> None:
    stream = torch.Generator().manual_seed(0)
    done = torch.rand(3, 4, 33, generator=stream) < 0.2
    x = torch.randn(3, 4, 33, generator=stream, dtype=torch.float64)
    expected, so_far = torch.empty_like(x), torch.zeros(3, 4, dtype=torch.float64)
    for t in range(33):
        expected[..., t] = so_far = so_far + x[..., t]
        so_far = so_far * ~done[..., t]
    torch.testing.assert_close(episode_cumsum(x, done), expected)
    jacobian = torch.func.jacrev(lambda row: episode_cumsum(row, done[0, 0]))(x[0, 0])
    episode = done[0, 0].long().cumsum(0) - done[0, 0].long()
    assert torch.equal(jacobian, (episode[:, None] == episode).tril().double())  # exactly zero elsewhere


# a decision in two steps: the first action decides its reward, and which logit and rewards the second has
REWARDS = torch.tensor([[[1.0, 1.0], [2.0, -3.0]], [[-2.0, -2.0], [0.5, 1.0]]]).double()  # [first, t, second]
DISCOUNT = 0.9


def log_probs(theta: Tensor, first: int, second: int) -> Tensor:
    """Of both actions, from the logit of action 1 at the start and after either first action."""
    logits = torch.stack([theta[0], theta[1 + first]])
    return torch.stack(
        [
            torch.nn.functional.logsigmoid(logit if action else -logit)
            for logit, action in zip(logits, (first, second), strict=True)
        ]
    )


def paths() -> list[tuple[int, int]]:
    return [(first, second) for first in (0, 1) for second in (0, 1)]


def rewards(first: int, second: int) -> Tensor:
    return REWARDS[first, :, second] * torch.tensor([1.0, DISCOUNT]).double()


def returns_to_go(first: int, second: int) -> Tensor:
    own = rewards(first, second)
    return own.flip(0).cumsum(0).flip(0)


def expected_return(theta: Tensor) -> Tensor:
    return torch.stack([log_probs(theta, *path).sum().exp() * rewards(*path).sum() for path in paths()]).sum()


def expected_surrogate(theta: Tensor, estimator: str) -> Tensor:
    """The surrogate's exact expectation over what a policy at `theta` samples; twice it, since it is a mean of two."""
    total = torch.zeros((), dtype=torch.float64)
    done = torch.tensor([[False, True]])
    for path in paths():
        log_prob, advantage = log_probs(theta, *path)[None], returns_to_go(*path)[None]
        if estimator == "dice":
            loss = dice(log_prob, advantage, done, ALL)
        elif estimator == "ratio":
            loss = likelihood_ratio(log_prob, log_prob.detach(), advantage, ALL)
        else:
            loss = log_likelihood(log_prob, advantage, ALL)
        total = total - 2 * log_prob.sum().detach().exp() * loss
    return total


def derivatives(function: object, theta: Tensor) -> tuple[Tensor, Tensor]:
    assert callable(function)
    (gradient,) = torch.autograd.grad(function(theta), theta, create_graph=True)
    rows = [torch.autograd.grad(g, theta, retain_graph=True)[0] for g in gradient]
    return gradient.detach(), torch.stack(rows)


THETA = torch.tensor([0.3, -0.6, 0.9], dtype=torch.float64)


@pytest.mark.parametrize("estimator", ["dice", "ratio", "log"])
def test_first_derivative_is_the_policy_gradient_of_all(estimator: str) -> None:
    theta = THETA.clone().requires_grad_()
    exact, _ = derivatives(expected_return, theta)
    gradient, _ = derivatives(lambda t: expected_surrogate(t, estimator), theta)
    torch.testing.assert_close(gradient, exact)


def test_second_derivative_is_exact_with_dice_only() -> None:
    theta = THETA.clone().requires_grad_()
    _, exact = derivatives(expected_return, theta)
    hessians = {e: derivatives(lambda t, e=e: expected_surrogate(t, e), theta)[1] for e in ("dice", "ratio", "log")}
    torch.testing.assert_close(hessians["dice"], exact)
    # the ratio keeps what concerns one action and leaves out how the first changes what the second is worth
    same = torch.eye(3, dtype=torch.bool)
    torch.testing.assert_close(hessians["ratio"][same], exact[same])
    assert not torch.allclose(hessians["ratio"][0, 1:], exact[0, 1:], atol=1e-2)
    assert not torch.allclose(hessians["log"][same], exact[same], atol=1e-2)


def test_dice_credits_each_episode_once_and_no_other() -> None:
    """Two episodes one after the other count as they do in two rows, in the second derivative too."""
    stream = torch.Generator().manual_seed(2)
    advantage = torch.randn(2, 4, generator=stream, dtype=torch.float64)
    features = torch.randn(2, 4, 3, generator=stream, dtype=torch.float64)
    theta = THETA.clone().requires_grad_()
    apart = torch.tensor([[False, False, False, True]] * 2)

    def loss(theta: Tensor, shape: tuple[int, ...]) -> Tensor:
        log_prob = torch.nn.functional.logsigmoid(features @ theta)
        parts = (log_prob, advantage, apart, torch.ones_like(apart))
        return dice(*(x.reshape(shape) for x in parts))

    in_rows, in_a_row = (derivatives(lambda t, s=shape: loss(t, s), theta) for shape in ((2, 4), (1, 8)))
    torch.testing.assert_close(in_rows, in_a_row)


@pytest.mark.parametrize("estimator", ["dice", "ratio", "log"])
def test_steps_that_are_not_valid_change_nothing(estimator: str) -> None:
    stream = torch.Generator().manual_seed(3)
    log_prob = torch.randn(2, 5, generator=stream, dtype=torch.float64)
    advantage = torch.randn(2, 5, generator=stream, dtype=torch.float64)
    done = torch.zeros(2, 7, dtype=torch.bool)
    padding = torch.full((2, 2), 1e6, dtype=torch.float64)
    valid = torch.arange(7).expand(2, 7) < 5

    def loss(log_prob: Tensor, steps: int) -> Tensor:
        weights = torch.cat([advantage, padding], 1)[:, :steps]
        x = torch.cat([log_prob, padding], 1)[:, :steps]
        if estimator == "dice":
            return dice(x, weights, done[:, :steps], valid[:, :steps])
        if estimator == "ratio":
            return likelihood_ratio(x, torch.zeros_like(x), weights, valid[:, :steps])
        return log_likelihood(x, weights, valid[:, :steps])

    x = log_prob.requires_grad_()
    for steps in (5, 7):
        torch.testing.assert_close(loss(x, steps), loss(x, 5))
        torch.testing.assert_close(torch.autograd.grad(loss(x, steps), x), torch.autograd.grad(loss(x, 5), x))


def test_values_by_hand() -> None:
    log_prob, old = torch.tensor([[0.0, 0.5]]).log1p(), torch.zeros(1, 2)
    advantage = torch.tensor([[2.0, 4.0]])
    torch.testing.assert_close(likelihood_ratio(log_prob, old, advantage, ALL), torch.tensor(-(2 + 1.5 * 4) / 2))
    assert valid_mean(torch.tensor([1.0, 5.0, torch.nan]), torch.tensor([True, True, False])) == 3
