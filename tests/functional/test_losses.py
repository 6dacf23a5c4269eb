import math

import torch

from metarl.functional.losses import approx_kl, clip_fraction, clipped_surrogate, normalised, squared_error


def test_clipped_surrogate_at_equal_policies_is_minus_the_mean_advantage_and_its_gradient_the_policy_gradient() -> None:
    log_prob = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantage = torch.tensor([1.0, -2.0, 4.0])
    loss = clipped_surrogate(log_prob, log_prob.detach(), advantage, 0.2)
    torch.testing.assert_close(loss, -advantage.mean())
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(log_prob.grad, -advantage / 3)


def test_clipping_stops_the_gradient_only_where_the_ratio_has_already_moved_the_right_way() -> None:
    old = torch.zeros(4)
    log_prob = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    clipped_surrogate(log_prob, old, torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2).backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is not None
    assert (log_prob.grad != 0).tolist() == [False, True, True, False]


def test_clipped_surrogate_by_hand() -> None:
    log_prob = torch.tensor([math.log(1.5), math.log(0.5)])
    loss = clipped_surrogate(log_prob, torch.zeros(2), torch.tensor([1.0, -1.0]), 0.2)
    torch.testing.assert_close(loss, torch.tensor(-(1.2 - 0.8) / 2))


def test_squared_error_by_hand() -> None:
    torch.testing.assert_close(squared_error(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0])), torch.tensor(2.5))


def test_approximate_kl_is_zero_at_equality_and_positive_elsewhere() -> None:
    x = torch.tensor([-1.0, -0.3])
    assert approx_kl(x, x) == 0
    assert approx_kl(x + torch.tensor([0.1, -0.2]), x) > 0


def test_approximate_kl_by_hand() -> None:
    """Ratios of 2 and 1/2: (2 - 1 - log 2) and (1/2 - 1 + log 2), the mean of which is 1/4."""
    log_ratio = torch.tensor([math.log(2), -math.log(2)])
    torch.testing.assert_close(approx_kl(log_ratio, torch.zeros(2)), torch.tensor(0.25))


def test_approximate_kl_is_kl_in_the_mean_over_the_old_policy() -> None:
    old, new = torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])
    drawn = torch.tensor([0, 0, 0, 1])  # as often as the old policy takes each action
    kl = (old * (old / new).log()).sum()
    torch.testing.assert_close(approx_kl(new.log()[drawn], old.log()[drawn]), kl)


def test_normalised_has_mean_zero_and_unit_deviation() -> None:
    x = normalised(torch.tensor([[1.0, 2.0], [3.0, 8.0]]))
    torch.testing.assert_close(x.mean(), torch.tensor(0.0))
    torch.testing.assert_close(x.std(correction=0), torch.tensor(1.0))


def test_clip_fraction_counts_ratios_outside_the_range() -> None:
    log_prob = torch.log(torch.tensor([0.79, 0.81, 1.0, 1.19, 1.21, 2.0]))
    assert clip_fraction(log_prob, torch.zeros(6), 0.2).item() == 0.5
