import torch

from metarl.functional.returns import counted_rewards, discounted_returns, gae, trial_time


def test_discounted_returns_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    torch.testing.assert_close(discounted_returns(rewards, 0.5), torch.tensor([[3.0, 4.0, 4.0]]))
    torch.testing.assert_close(discounted_returns(rewards, 0.5, torch.tensor([8.0])), torch.tensor([[4.0, 6.0, 8.0]]))


def test_every_step_may_have_a_discount_of_its_own() -> None:
    rewards, discounts = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.5, 0.0, 0.5]])
    torch.testing.assert_close(discounted_returns(rewards, discounts), torch.tensor([[2.0, 2.0, 4.0]]))
    values = torch.tensor([[1.0, 3.0, 5.0]])
    expected = discounted_returns(rewards, discounts) - values
    torch.testing.assert_close(gae(rewards, values, discounts, 1.0), expected)


def test_an_episode_that_ends_early_counts_as_its_time_limit() -> None:
    """Trials of two episodes of at most four steps; the last trial of a row may be cut."""
    ends = torch.tensor([[0, 0, 0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 1, 1, 0], [0, 0, 1, 0, 1, 0, 0, 0]])
    before, after = trial_time(ends.bool(), 4, 8)
    assert before.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 4, 5, 6, 7, 0, 4], [0, 1, 2, 4, 5, 0, 1, 2]]
    assert after.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [1, 4, 5, 6, 7, 8, 4, 5], [1, 2, 4, 5, 8, 1, 2, 3]]


def test_rewards_of_free_episodes_do_not_count() -> None:
    """Two of three episodes of two steps are free; the second ends early, and a second trial follows in the row."""
    ends = torch.tensor([[0, 1, 1, 0, 1, 0, 1]]).bool()
    time, _ = trial_time(ends, 2, 6)
    assert counted_rewards(torch.arange(1.0, 8)[None], time, 2, 2).tolist() == [[0, 0, 0, 4, 5, 0, 0]]
    assert counted_rewards(torch.arange(1.0, 8)[None], time, 2, 0).tolist() == [[1, 2, 3, 4, 5, 6, 7]]


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
