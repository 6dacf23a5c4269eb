from typing import Any

import pytest
import torch

from metarl import seeding
from metarl.nn.memory import Memory
from metarl.nn.recurrent import RecurrentMemory
from metarl.nn.transformer import TransformerMemory

STEPS, WIDTH = 17, 16


def made(kind: str, device: str) -> Memory[Any]:
    with seeding.initialising(0):
        if kind in ("gru", "lstm"):
            return RecurrentMemory(kind, WIDTH, 2, 20).to(device)  # type: ignore[arg-type]
        return TransformerMemory(WIDTH, 2, 2, 5 if kind == "window" else 1000).to(device)


def trials(device: str) -> torch.Tensor:
    return torch.randn(4, STEPS, WIDTH, generator=torch.Generator().manual_seed(1)).to(device)


@pytest.mark.parametrize("kind", ["gru", "lstm", "transformer", "window"])
@torch.no_grad()
def test_steps_equal_whole_trials_with_staggered_resets(kind: str, device: str) -> None:
    memory, x = made(kind, device), trials(device)
    expected, _ = memory(x)
    state, slot = memory.initial_state(len(x)), torch.arange(len(x), device=device)
    for t in range(STEPS + 15):
        state = memory.reset(state, slot * 5 == t)
        own = torch.clamp(t - 5 * slot, 0, STEPS - 1)
        y, state = memory.step(x[slot, own], state)
        inside = (t >= 5 * slot) & (t - 5 * slot < STEPS)
        torch.testing.assert_close(y[inside], expected[slot, own][inside], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "lstm", "transformer", "window"])
def test_segments_equal_whole_trials_and_stop_gradients(kind: str, device: str) -> None:
    memory, x = made(kind, device), trials(device).requires_grad_()
    first, state = memory(x[:, :6])
    second, state = memory(x[:, 6:13], state)
    third, _ = memory(x[:, 13:], state)
    torch.testing.assert_close(torch.cat([first, second, third], 1), memory(x)[0], rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(third.sum(), x)
    assert not gradient[:, :13].any()
    assert gradient[:, 13:].any()


@pytest.mark.parametrize("kind", ["gru", "lstm", "transformer", "window"])
@torch.no_grad()
def test_segments_and_steps_go_on_from_each_other(kind: str, device: str) -> None:
    """There is one state: from the first, some steps at once, some one by one, the rest at once."""
    memory, x = made(kind, device), trials(device)
    start, state = memory(x[:, :6], memory.initial_state(len(x)))
    middle = []
    for t in range(6, 10):
        y, state = memory.step(x[:, t], state)
        middle.append(y)
    rest, _ = memory(x[:, 10:], state)
    parts = torch.cat([start, torch.stack(middle, 1), rest], 1)
    torch.testing.assert_close(parts, memory(x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [20, 200])
@torch.no_grad()
def test_a_fresh_lstm_still_knows_the_first_step_at_the_end_of_a_trial(steps: int) -> None:
    """With forget gates of 1/2 the share would be under 1e-5 after 20 steps."""
    with seeding.initialising(0):
        memory = RecurrentMemory("lstm", 32, 1, steps)
    x = torch.randn(64, steps, 32, generator=seeding.generator(0))
    other = x.clone()
    other[:, 0] += 1
    change = (memory(x)[0] - memory(other)[0]).norm(dim=-1).mean(0)
    assert change[-1] > 0.02 * change[0]


def test_segments_of_trials_that_are_not_in_step_are_refused(device: str) -> None:
    memory, x = made("transformer", device), trials(device)
    _, state = memory(x[:, :6])
    state = memory.reset(state, torch.arange(len(x), device=device) == 1)
    with pytest.raises(ValueError, match="only if all trials have seen the same number of steps"):
        memory(x[:, 6:], state)


def test_attention_weights_cover_every_layer_and_head(device: str) -> None:
    memory = made("transformer", device)
    assert isinstance(memory, TransformerMemory)
    weights = memory.attention_weights(trials(device))
    assert weights.shape == (4, 2, 2, STEPS, STEPS)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 2, 2, STEPS, device=device))
    assert not weights.triu(1).any()
