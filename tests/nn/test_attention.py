import math

import pytest
import torch

from metarl import seeding
from metarl.nn import attention as attention_module
from metarl.nn.attention import Attention

WIDTH, HEADS, STEPS = 16, 2, 21  # more steps than the smallest cache holds, so it grows


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that trials of these lengths take several."""
    monkeypatch.setattr(attention_module, "BLOCK", 4)


def made(window: int, device: str, seed: int = 0) -> Attention:
    with seeding.initialising(seed):
        return Attention(WIDTH, HEADS, window).to(device)


def trials(device: str, count: int = 5) -> torch.Tensor:
    return torch.randn(count, STEPS, WIDTH, generator=torch.Generator().manual_seed(1)).to(device)


@pytest.mark.parametrize("window", [1, 6, 1000])
@torch.no_grad()
def test_cache_equals_full_forward(window: int, device: str) -> None:
    attention, x = made(window, device), trials(device)
    cache = attention.empty_cache(len(x))
    steps = [attention.step(x[:, t], cache) for t in range(STEPS)]
    torch.testing.assert_close(torch.stack(steps, 1), attention(x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [1, 6, 1000])
@torch.no_grad()
def test_cache_equals_full_forward_with_staggered_resets(window: int, device: str) -> None:
    """Trial i starts anew at step 3 i; what it saw before, and slots it never filled, must not matter."""
    attention, x = made(window, device), trials(device)
    expected = attention(x)[0]
    cache = attention.empty_cache(len(x))
    slot = torch.arange(len(x), device=device)
    for t in range(STEPS + 3 * len(x)):
        cache.reset(slot * 3 == t)
        own = torch.clamp(t - 3 * slot, 0, STEPS - 1)
        y = attention.step(x[slot, own], cache)
        unread = torch.arange(cache.capacity, device=device) >= cache.lengths[:, None]
        cache.keys.masked_fill_(unread[:, None, :, None], 1e3)  # loud if a slot beyond a trial's length were read
        cache.values.masked_fill_(unread[:, None, :, None], 1e9)
        inside = (t >= 3 * slot) & (t - 3 * slot < STEPS)
        torch.testing.assert_close(y[inside], expected[slot, own][inside], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_cache_equals_full_forward_under_autocast() -> None:
    """The cache stays in float32, whatever autocast makes of keys and values; in lockstep and with staggered resets."""
    attention, x = made(6, "cpu"), trials("cpu")
    expected, slot = attention(x)[0], torch.arange(len(x))
    for distance in (0, 3):
        cache = attention.empty_cache(len(x))
        with torch.autocast("cpu", torch.bfloat16):
            for t in range(STEPS + distance * len(x)):
                cache.reset(slot * distance == t)
                own = torch.clamp(t - distance * slot, 0, STEPS - 1)
                y = attention.step(x[slot, own], cache)
                inside = (t >= distance * slot) & (t - distance * slot < STEPS)
                torch.testing.assert_close(y.float()[inside], expected[slot, own][inside], rtol=0.05, atol=0.05)
        assert cache.keys.dtype == cache.values.dtype == torch.float32


@torch.no_grad()
def test_in_lockstep_no_unfilled_slot_is_read(device: str) -> None:
    attention, x = made(1000, device), trials(device)
    cache = attention.empty_cache(len(x))
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.nan)
    assert all(attention.step(x[:, t], cache).isfinite().all() for t in range(STEPS))


@pytest.mark.parametrize("window", [4, 1000])
@torch.no_grad()
def test_segments_equal_whole_trials(window: int, device: str) -> None:
    attention, x = made(window, device), trials(device)
    first, past = attention(x[:, :8])
    second, past = attention(x[:, 8:13], past)
    third, _ = attention(x[:, 13:], past)
    torch.testing.assert_close(torch.cat([first, second, third], 1), attention(x)[0], rtol=1e-4, atol=1e-5)


def test_blocks_have_the_gradients_of_the_whole(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for block in (4, STEPS):
        monkeypatch.setattr(attention_module, "BLOCK", block)
        attention, x = made(6, device), trials(device).requires_grad_()
        attention(x)[0].square().sum().backward()
        gradients.append((x.grad, attention.query_key_value.weight.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_output_is_causal_and_within_the_window(device: str) -> None:
    attention, x = made(5, device), trials(device)
    changed = x.clone()
    changed[:, 10] += 1
    moved = (attention(changed)[0] - attention(x)[0]).abs().amax((0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [10, 11, 12, 13, 14]


@torch.no_grad()
def test_weights_are_those_of_the_definition(device: str) -> None:
    """Against a plain loop: rotate pairs as complex numbers, softmax over the window, mix the values."""
    attention, x = made(6, device), trials(device, 1)
    query, key, value = (part.reshape(STEPS, HEADS, -1) for part in attention.query_key_value(x[0]).chunk(3, -1))
    size = WIDTH // HEADS
    frequency = 10_000.0 ** (-torch.arange(size // 2, device=device) * 2 / size)

    def turned(row: torch.Tensor, position: int) -> torch.Tensor:
        return torch.complex(row[: size // 2], row[size // 2 :]) * torch.polar(
            torch.ones_like(frequency), position * frequency
        )

    weights, merged = attention.weights(x)[0], torch.zeros(STEPS, WIDTH, device=device)
    for h in range(HEADS):
        for t in range(STEPS):
            seen = range(max(0, t - 5), t + 1)
            products = [(turned(query[t, h], t) * turned(key[s, h], s).conj()).real.sum() for s in seen]
            expected = (torch.stack(products) / math.sqrt(size)).softmax(0)
            torch.testing.assert_close(weights[h, t, list(seen)], expected, rtol=1e-4, atol=1e-5)
            merged[t, h * size : (h + 1) * size] = expected @ value[list(seen), h]
    torch.testing.assert_close(weights.sum(-1), torch.ones(HEADS, STEPS, device=device))
    torch.testing.assert_close(attention.output(merged), attention(x)[0][0], rtol=1e-4, atol=1e-5)


def test_bad_widths_and_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of twice the number of heads"):
        Attention(10, 4, 8)
    with pytest.raises(ValueError, match="window must be at least 1"):
        Attention(16, 2, 0)
