import pytest
import torch
from gymnasium import spaces

from metarl import seeding
from metarl.nn.retrieval import Retrieval
from metarl.trials.context import Context

STATES, STEPS, WIDTH, HEADS = 6, 23, 32, 2


def made(window: int = 1000, device: str = "cpu") -> Retrieval:
    with seeding.initialising(0):
        return Retrieval(spaces.Discrete(STATES), WIDTH, HEADS, window).to(device)


def walk(device: str = "cpu", count: int = 3) -> tuple[torch.Tensor, Context]:
    """Tokens [B, T, D] and the context of random walks."""
    stream = torch.Generator().manual_seed(1)
    states = torch.randint(STATES, (count, STEPS), generator=stream)
    before = torch.cat([torch.zeros(count, 1, dtype=torch.int64), states[:, :-1]], 1)
    started = torch.ones(count, STEPS)
    started[:, 0] = 0
    zero = torch.zeros(count, STEPS)
    token = torch.randn(count, STEPS, WIDTH, generator=stream)
    context = Context(states, before, zero.long(), zero, zero, started)
    return token.to(device), Context(*(getattr(context, name).to(device) for name in Context.__dataclass_fields__))


@pytest.mark.parametrize("window", [4, 1000])
@torch.no_grad()
def test_steps_and_segments_equal_whole_trials(window: int, device: str) -> None:
    retrieval, (token, context) = made(window, device), walk(device)
    expected, _ = retrieval(token, context)
    cache = retrieval.empty_cache(len(token))
    steps = [retrieval.step(token[:, t], context[:, t], cache) for t in range(STEPS)]
    torch.testing.assert_close(torch.stack(steps, 1), expected, rtol=1e-4, atol=1e-5)
    first, past = retrieval(token[:, :9], context[:, :9])
    second, _ = retrieval(token[:, 9:], context[:, 9:], past)
    torch.testing.assert_close(torch.cat([first, second], 1), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_before_training_the_transitions_that_left_this_state_are_read_most() -> None:
    """That is what makes it worth having: the lookup need not be found by reward."""
    retrieval, (token, context) = made(), walk(count=8)
    weights = retrieval.weights(token, context).mean(1)  # [B, T, T]
    alike = (context.observation[:, :, None] == context.previous_observation[:, None]) & (context.started[:, None] > 0)
    seen = torch.ones(STEPS, STEPS, dtype=torch.bool).tril() & (context.started[:, None] > 0)
    late = slice(10, None)
    on_alike = weights[:, late][alike[:, late] & seen[:, late]].mean()
    on_others = weights[:, late][~alike[:, late] & seen[:, late]].mean()
    assert on_alike > 5 * on_others


@torch.no_grad()
def test_distance_does_not_matter() -> None:
    """Two equal transitions, one long ago, are read alike."""
    retrieval, (token, context) = made(), walk(count=1)
    context.observation[0, -1] = 2
    context.previous_observation[0, 3] = context.previous_observation[0, -2] = 2
    weights = retrieval.weights(token, context)[0, :, -1]
    torch.testing.assert_close(weights[:, 3], weights[:, -2])
