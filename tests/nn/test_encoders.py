import pytest
import torch
from gymnasium import spaces

from metarl.nn.discrete_heads import CategoricalHead
from metarl.nn.encoders import ContextEncoder, ObservationEncoder
from metarl.nn.normalisation import RewardScale, RunningNormaliser
from metarl.tasks.policies import Transition
from metarl.trials.context import Context, ContextTracker, trial_context


def test_running_normaliser_holds_the_statistics_of_everything_seen() -> None:
    stream = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 7, 3, generator=stream) * 5 + 2, torch.randn(9, 1, 3, generator=stream) - 4]
    normaliser = RunningNormaliser((3,))
    for batch in batches:
        normaliser.update_statistics(batch)
    rows = torch.cat([batch.reshape(-1, 3) for batch in batches]).double()
    torch.testing.assert_close(normaliser.mean, rows.mean(0))
    torch.testing.assert_close(normaliser.square, rows.var(0, correction=0))
    out = normaliser(rows.float())
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(3))


def test_normalisation_of_a_constant_stays_finite() -> None:
    normaliser = RunningNormaliser((1,))
    normaliser.update_statistics(torch.full((10, 1), 7.0))
    assert normaliser(torch.tensor([[7.0]])).item() == 0


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e-3, 1.0, 1e5, 1e12])
@pytest.mark.parametrize("offset", [0.0, 0.5, -30.0])
def test_normalisation_has_no_units(unit: float, offset: float) -> None:
    signal = torch.randn(400, 2, generator=torch.Generator().manual_seed(1)) + offset
    plain, scaled = RunningNormaliser((2,)), RunningNormaliser((2,))
    plain.update_statistics(signal)
    scaled.update_statistics(signal * unit)
    torch.testing.assert_close(scaled(signal * unit), plain(signal), atol=1e-4, rtol=1e-4)


def test_a_signal_far_from_zero_is_seen_as_far_as_float32_has_it() -> None:
    normaliser, signal = RunningNormaliser((1,)), torch.tensor([[-1.0], [1.0]]).repeat(50, 1)
    normaliser.update_statistics(signal + 1e6)
    torch.testing.assert_close(normaliser(signal + 1e6), signal)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e-7, 1e8])
def test_a_constant_is_shifted_and_not_scaled(constant: float) -> None:
    normaliser, x = RunningNormaliser((1,)), torch.full((60, 1), constant)
    for _ in range(3):
        normaliser.update_statistics(x)
    assert normaliser(x).abs().max().item() == 0
    assert normaliser(x + 0.5).abs().max().item() <= 0.5


def test_large_integers_have_few_symbols_and_each_its_own() -> None:
    encoder = ObservationEncoder(spaces.MultiDiscrete([3, 40_000], start=[0, 7]), width=16)
    assert sum(p.numel() for p in encoder.parameters()) == 16 * (3 + 200 + 200)
    values = torch.stack([torch.tensor([0, 2, 1, 1, 1, 1]), torch.tensor([7, 7, 40_006, 207, 208, 407])], 1)
    codes = encoder(values)
    assert len({tuple(row) for row in codes.tolist()}) == 6
    small = ObservationEncoder(spaces.Discrete(10_000, start=-5), width=2)
    assert sum(p.numel() for p in small.parameters()) == 20_000
    torch.testing.assert_close(small(torch.tensor([-5, 9994])), small.layer.weight[[0, 9999]])
    large = ObservationEncoder(spaces.Discrete(1_000_000), width=4)
    assert large(torch.tensor([[0, 999_999]])).shape == (1, 2, 4)


def test_reward_scale_ignores_zeros() -> None:
    scale = RewardScale()
    rewards = torch.tensor([0.0, 0.0, 300.0, -300.0, 0.0])
    assert torch.equal(scale(rewards), rewards)
    scale.update_statistics(rewards)
    torch.testing.assert_close(scale(rewards), rewards / 300)


def test_discrete_spaces_are_embedded_from_their_own_start() -> None:
    encoder = ObservationEncoder(spaces.Discrete(3, start=-1), 8)
    assert isinstance(encoder.layer, torch.nn.Embedding)
    torch.testing.assert_close(encoder(torch.tensor([-1, 1])), encoder.layer.weight[[0, 2]])
    pair = ObservationEncoder(spaces.MultiDiscrete([2, 3]), 8)
    assert isinstance(pair.layer, torch.nn.Embedding)
    torch.testing.assert_close(pair(torch.tensor([1, 2])), pair.layer.weight[1] + pair.layer.weight[4])


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(TypeError, match="must be Box, Discrete or MultiDiscrete"):
        ObservationEncoder(spaces.Text(3), 8)


def test_before_the_first_transition_only_the_observation_counts() -> None:
    encoder = ContextEncoder(spaces.Discrete(4), CategoricalHead(spaces.Discrete(2)), 8)
    zero = torch.zeros(2)
    observation, action = torch.tensor([1, 1]), torch.tensor([0, 1])
    fresh = Context(observation, torch.tensor([0, 3]), action, zero, zero, started=zero)
    torch.testing.assert_close(encoder(fresh)[0], encoder(fresh)[1])
    going = Context(observation, torch.tensor([0, 3]), action, zero, zero, started=torch.ones(2))
    assert not torch.allclose(encoder(going)[0], encoder(going)[1])


def test_trials_begin_in_spaces_that_hold_no_zero() -> None:
    """The first step has no observation before it, and what stands in its place must be one."""
    space, head = spaces.Discrete(3, start=5), CategoricalHead(spaces.Discrete(2, start=1))
    observation, action = torch.tensor([[5, 7, 6]]), torch.tensor([[1, 2, 1]])
    reward, done = torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool)
    tracker = ContextTracker(1, torch.ones(1, dtype=torch.int64))
    encoder = ContextEncoder(space, head, 8)
    tokens = encoder(trial_context(observation, action, reward, done))
    for t in range(3):
        torch.testing.assert_close(encoder(tracker.at(observation[:, t])), tokens[:, t])
        tracker.observe(
            Transition(observation[:, t], action[:, t], reward[:, t], done[:, t], done[:, t], observation[:, t])
        )
