import numpy as np
import pytest
import torch
from gymnasium import spaces

from metarl import seeding
from metarl.nn.action_heads import action_head
from metarl.nn.discrete_heads import CategoricalHead
from metarl.nn.gaussian_heads import GaussianHead, SquashedGaussianHead
from metarl.spaces import HybridBox


def test_categorical_agrees_with_torch(device: str) -> None:
    head = CategoricalHead(spaces.Discrete(3, start=2))
    logits = torch.tensor([[0.0, 1.0, -1.0], [3.0, 0.0, 0.0]], device=device)
    peer = torch.distributions.Categorical(logits=logits)
    actions = torch.tensor([2, 4], device=device)
    torch.testing.assert_close(head.log_prob(logits, actions), peer.log_prob(actions - 2))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(head.entropy(logits), peer.entropy())  # type: ignore[no-untyped-call]
    assert head.mode(logits).tolist() == [3, 2]
    assert head.encode(actions).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_categorical_samples_follow_the_probabilities(device: str) -> None:
    head = CategoricalHead(spaces.Discrete(3))
    logits = torch.tensor([0.2, 0.5, 0.3], device=device).log().expand(100_000, 3)
    counts = torch.bincount(head.sample(logits, seeding.generator(0, device=device))) / 100_000
    torch.testing.assert_close(counts.cpu(), torch.tensor([0.2, 0.5, 0.3]), atol=0.006, rtol=0)


def test_gaussian_agrees_with_torch_and_sums_over_dimensions(device: str) -> None:
    head = GaussianHead(spaces.Box(np.array([-0.1, -2], np.float32), np.array([0.3, 2], np.float32))).to(device)
    means = torch.tensor([[0.5, -1.0], [0.0, 2.0]], device=device)
    parameters = head(means)
    peer = torch.distributions.Independent(torch.distributions.Normal(means, head.log_std.exp()), 1)
    actions = torch.tensor([[0.1, -2.0], [0.4, 1.0]], device=device)
    normalised = torch.tensor([[0.0, -1.0], [1.5, 0.5]], device=device)
    torch.testing.assert_close(head.log_prob(parameters, actions), peer.log_prob(normalised))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(head.entropy(parameters), peer.entropy())  # type: ignore[no-untyped-call]
    torch.testing.assert_close(head.mode(parameters), torch.tensor([[0.2, -2.0], [0.1, 4.0]], device=device))
    torch.testing.assert_close(head.encode(actions), normalised.clamp(-1, 1))


def test_gaussian_samples_have_the_mean_and_deviation_of_the_parameters(device: str) -> None:
    head = GaussianHead(spaces.Box(-3.0, 5.0, (1,))).to(device)
    actions = head.sample(head(torch.full((100_000, 1), 0.5, device=device)), seeding.generator(0, device=device))
    assert abs(actions.mean().item() - 3.0) < 0.04
    assert abs(actions.std().item() - 4 * head.log_std.exp().item()) < 0.04


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.3), (0.7, 0.6), (-2.0, 1.0)])
def test_squashed_gaussian_agrees_with_the_definition(mean: float, deviation: float, device: str) -> None:
    """Its density integrates to one; entropy and samples are those of the density; all actions lie in the box."""
    head = SquashedGaussianHead(spaces.Box(-2.0, 6.0, (1,))).to(device)
    parameters = torch.tensor([mean, float(np.log(deviation))], device=device)
    edges = torch.linspace(-1, 1, 200_001, device=device)
    inside = 2 + 4 * (edges[1:] + edges[:-1]) / 2
    density = head.log_prob(parameters.expand(len(inside), 2), inside[:, None]).exp()
    density = density.clamp(min=1e-30)
    weight = density / 100_000  # of each interval, in units of half the box
    assert weight.sum().item() == pytest.approx(1, abs=1e-3)
    assert head.entropy(parameters).item() == pytest.approx(-(weight * density.log()).sum().item(), abs=5e-3)
    actions = head.sample(parameters.expand(100_000, 2), seeding.generator(0, device=device))
    assert actions.min() >= -2
    assert actions.max() <= 6
    assert actions.mean().item() == pytest.approx((weight * inside).sum().item(), abs=0.04)
    assert head.mode(parameters).item() == pytest.approx(2 + 4 * np.tanh(mean), abs=1e-5)
    assert head.encode(actions).abs().max() <= 1


def test_squashed_actions_at_the_edge_keep_a_finite_density_and_gradient() -> None:
    head = action_head(spaces.Box(-1.0, 1.0, (2,)), squashed=True)
    parameters = head(torch.tensor([[9.0, -9.0]])).detach().requires_grad_()
    action = head.sample(parameters, seeding.generator(0))
    head.log_prob(parameters, action).sum().backward()  # type: ignore[no-untyped-call]
    assert parameters.grad is not None
    assert torch.isfinite(parameters.grad).all()


def test_cross_entropy_to_a_certain_expert_is_minus_the_log_probability() -> None:
    head, logits = CategoricalHead(spaces.Discrete(3)), torch.tensor([[0.0, 1.0, -1.0]])
    certain, even = torch.tensor([[0.0, 1.0, 0.0]]), torch.full((1, 3), 1 / 3)
    torch.testing.assert_close(head.cross_entropy(logits, certain), -head.log_prob(logits, torch.tensor([1])))
    torch.testing.assert_close(head.cross_entropy(logits, even), -logits.log_softmax(-1).mean(-1))
    gaussian, action = GaussianHead(spaces.Box(-1.0, 1.0, (2,))), torch.tensor([[0.3, -0.2]])
    parameters = gaussian(torch.zeros(1, 2))
    torch.testing.assert_close(gaussian.cross_entropy(parameters, action), -gaussian.log_prob(parameters, action))


def test_divergence_agrees_with_torch_and_is_zero_only_between_equals() -> None:
    head = GaussianHead(spaces.Box(-1.0, 1.0, (2,)))
    ours, theirs = torch.tensor([[0.5, -1.0, 0.1, -0.3]]), torch.tensor([[0.0, 2.0, -0.5, 0.4]])
    normals = [
        torch.distributions.Independent(torch.distributions.Normal(x[:, :2], x[:, 2:].exp()), 1) for x in (ours, theirs)
    ]
    torch.testing.assert_close(head.kl_divergence(ours, theirs), torch.distributions.kl_divergence(*normals))
    assert head.kl_divergence(ours, ours).item() == 0
    logits = torch.tensor([[0.0, 1.0, -1.0], [3.0, 0.0, 0.0]])
    categories = [torch.distributions.Categorical(logits=x) for x in (logits, logits.flip(1))]
    discrete = CategoricalHead(spaces.Discrete(3))
    torch.testing.assert_close(
        discrete.kl_divergence(logits, logits.flip(1)), torch.distributions.kl_divergence(*categories)
    )


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(TypeError, match="must be Box, Discrete, MultiDiscrete or MultiBinary, got Text"):
        action_head(spaces.Text(3))
    with pytest.raises(TypeError, match="must be a flat MultiBinary"):
        action_head(spaces.MultiBinary([2, 3]))


def test_several_choices_are_as_many_categories(device: str) -> None:
    space = spaces.MultiDiscrete([2, 4, 3], start=[0, 1, 5])
    head = action_head(space).to(device)
    singles = [CategoricalHead(spaces.Discrete(int(n), start=int(first))) for n, first in zip(space.nvec, space.start)]  # noqa: B905
    one, other = (torch.randn(6, 9, generator=torch.Generator().manual_seed(i)).to(device) for i in range(2))
    cuts = [torch.split(x, [2, 4, 3], -1) for x in (one, other)]
    parameters, others = head(one), head(other)
    actions = head.sample(parameters, seeding.generator(0, device=device))
    assert all(space.contains(action) for action in actions.cpu().numpy())

    def summed(name: str, *arguments: list[torch.Tensor]) -> torch.Tensor:
        rows = zip(singles, *arguments)  # noqa: B905
        return torch.stack([getattr(single, name)(*parts) for single, *parts in rows]).sum(0)

    choices = list(actions.unbind(-1))
    torch.testing.assert_close(head.log_prob(parameters, actions), summed("log_prob", list(cuts[0]), choices))
    torch.testing.assert_close(head.cross_entropy(parameters, actions), -head.log_prob(parameters, actions))
    torch.testing.assert_close(head.entropy(parameters), summed("entropy", list(cuts[0])))
    torch.testing.assert_close(
        head.kl_divergence(parameters, others), summed("kl_divergence", list(cuts[0]), list(cuts[1]))
    )
    modes = [single.mode(part) for single, part in zip(singles, cuts[0], strict=True)]
    torch.testing.assert_close(head.mode(parameters), torch.stack(modes, -1))
    features = torch.cat([single.encode(x) for single, x in zip(singles, choices, strict=True)], -1)
    torch.testing.assert_close(head.encode(actions), features)


def test_choices_are_drawn_by_their_probabilities() -> None:
    head = action_head(spaces.MultiDiscrete([2, 3]))
    chances = torch.tensor([0.1, 0.9, 0.2, 0.5, 0.3])
    actions = head.sample(head(chances.log().expand(100_000, 5)), seeding.generator(0))
    torch.testing.assert_close(head.encode(actions).mean(0), chances, atol=0.006, rtol=0)


def test_switches_agree_with_torch(device: str) -> None:
    head = action_head(spaces.MultiBinary(3)).to(device)
    logits = torch.tensor([[0.0, 1.0, -2.0], [30.0, -0.5, -90.0]], device=device)
    others = torch.tensor([[1.0, 1.0, 3.0], [20.0, 0.5, -80.0]], device=device)
    actions = torch.tensor([[0, 1, 1], [1, 0, 0]], device=device)
    peer, other = (
        torch.distributions.Independent(torch.distributions.Bernoulli(logits=x), 1) for x in (logits, others)
    )
    torch.testing.assert_close(head.log_prob(logits, actions), peer.log_prob(actions.float()))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(head.cross_entropy(logits, actions), -head.log_prob(logits, actions))
    torch.testing.assert_close(head.entropy(logits), peer.entropy())  # type: ignore[no-untyped-call]
    torch.testing.assert_close(head.kl_divergence(logits, others), torch.distributions.kl_divergence(peer, other))
    assert head.kl_divergence(logits, logits).tolist() == [0, 0]
    assert head.mode(logits).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert head.encode(actions).tolist() == [[-1, 1, 1], [1, -1, -1]]


def test_switches_are_drawn_by_their_probabilities(device: str) -> None:
    head = action_head(spaces.MultiBinary(3))
    chances = torch.tensor([0.1, 0.5, 0.8], device=device)
    actions = head.sample(chances.logit().expand(100_000, 3), seeding.generator(0, device=device))
    assert not actions.is_floating_point()
    torch.testing.assert_close(actions.float().mean(0), chances, atol=0.006, rtol=0)


def test_a_hybrid_action_is_its_parts(device: str) -> None:
    parts = [spaces.Discrete(3), spaces.Box(-2.0, 4.0, (1, 2)), spaces.MultiBinary(2), spaces.MultiDiscrete([2, 4])]
    space = HybridBox(parts)
    head, widths = action_head(space).to(device), [3, 2, 2, 6]
    singles = [action_head(part).to(device) for part in parts]
    one, other = (torch.randn(5, 13, generator=torch.Generator().manual_seed(i)).to(device) for i in range(2))
    ours, theirs = head(one), head(other)
    each, others = ([h(x) for h, x in zip(singles, torch.split(y, widths, -1), strict=True)] for y in (one, other))
    action = head.sample(ours, seeding.generator(0, device=device))
    assert action.shape == (5, 7)
    chosen = space.split(action)
    assert [tuple(x.shape) for x in chosen] == [(5,), (5, 1, 2), (5, 2), (5, 2)]
    torch.testing.assert_close(space.join(chosen), action)

    def of_each(name: str, *arguments: list[torch.Tensor]) -> list[torch.Tensor]:
        return [getattr(single, name)(*x) for single, *x in zip(singles, *arguments, strict=True)]

    torch.testing.assert_close(head.log_prob(ours, action), sum(of_each("log_prob", each, chosen)))
    torch.testing.assert_close(head.cross_entropy(ours, action), -head.log_prob(ours, action))
    torch.testing.assert_close(head.entropy(ours), sum(of_each("entropy", each)))
    torch.testing.assert_close(head.kl_divergence(ours, theirs), sum(of_each("kl_divergence", each, others)))
    torch.testing.assert_close(head.mode(ours), space.join(of_each("mode", each)))
    torch.testing.assert_close(head.encode(action), torch.cat(of_each("encode", chosen), -1))
    assert len(set(action[:, 0].tolist())) > 1  # drawn, not the same for all


@pytest.mark.parametrize("kind", [GaussianHead, SquashedGaussianHead])
def test_a_number_without_width_is_a_constant(
    kind: type[GaussianHead] | type[SquashedGaussianHead], device: str
) -> None:
    """A locked joint between two that move: as if it were not there, and always where it is locked."""
    low, high = np.array([-1, 0.25, -2], np.float32), np.array([1, 0.25, 2], np.float32)
    head = kind(spaces.Box(low, high)).to(device)
    without = kind(spaces.Box(low[[0, 2]], high[[0, 2]])).to(device)
    output = torch.tensor([[0.3, 5.0, -0.1], [1.0, -7.0, 0.2]], device=device)
    parameters, fewer = head(output), without(output[:, [0, 2]])
    actions = head.sample(parameters, seeding.generator(0, device=device))
    assert actions[:, 1].tolist() == head.mode(parameters)[:, 1].tolist() == [0.25, 0.25]
    torch.testing.assert_close(head.log_prob(parameters, actions), without.log_prob(fewer, actions[:, [0, 2]]))
    torch.testing.assert_close(head.entropy(parameters), without.entropy(fewer))
    torch.testing.assert_close(
        head.kl_divergence(parameters, parameters.flip(0)), without.kl_divergence(fewer, fewer.flip(0))
    )
    assert head.encode(actions)[:, 1].tolist() == [0, 0]
    total = head.log_prob(parameters, actions).sum() + head.entropy(parameters).sum()
    total.backward()  # type: ignore[no-untyped-call]
    (log_std,) = head.parameters()
    assert log_std.grad is not None
    assert log_std.grad[1].item() == 0
