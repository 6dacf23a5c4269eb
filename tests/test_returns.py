import torch

from metarl.returns import discounted_returns, gae


def test_discounted_returns_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    torch.testing.assert_close(discounted_returns(rewards, 0.5), torch.tensor([[3.0, 4.0, 4.0]]))
    torch.testing.assert_close(discounted_returns(rewards, 0.5, torch.tensor([8.0])), torch.tensor([[4.0, 6.0, 8.0]]))


def test_gae_with_full_trace_is_return_minus_value() -> None:
    stream = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 30, generator=stream, dtype=torch.float64)
    expected = discounted_returns(rewards, 0.9) - values
    torch.testing.assert_close(gae(rewards, values, 0.9, 1.0), expected)


def test_gae_without_trace_is_the_temporal_difference() -> None:
    rewards, values = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 2.0]])
    last = torch.tensor([4.0])
    torch.testing.assert_close(gae(rewards, values, 0.5, 0.0, last), torch.tensor([[1.5, 0.0]]))


def test_gae_is_the_sum_in_its_definition() -> None:
    stream = torch.Generator().manual_seed(1)
    rewards, values = torch.randn(2, 1, 6, generator=stream, dtype=torch.float64)
    following = torch.cat([values[:, 1:], torch.zeros(1, 1, dtype=torch.float64)], 1)
    delta = (rewards + 0.9 * following - values)[0]
    expected = [sum((0.9 * 0.7) ** k * delta[t + k] for k in range(6 - t)) for t in range(6)]
    torch.testing.assert_close(gae(rewards, values, 0.9, 0.7)[0], torch.stack([torch.as_tensor(e) for e in expected]))
