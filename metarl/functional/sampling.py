"""Random draws in which each entry has its own noise, so that the draw of a task does not depend on other tasks.

torch's own gamma and multinomial draws take a number of random values that depends on their parameters.
"""

import numpy as np
import torch
from torch import Tensor

TRIES = 4  # of rejection sampling; the last is accepted if all are rejected, once in 100 000 draws


def uniform(num: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
    """Float32 draws `[num, *low.shape]` from U[low, high], on the generator's device."""
    return between(low, high, torch.rand(num, *low.shape, generator=generator, device=generator.device))


def between(low: np.ndarray, high: np.ndarray, share: Tensor) -> Tensor:
    """low + (high - low) * share in float32; `share` and the result are `[N, *low.shape]`, shares from 0 to 1."""
    lows, highs = (
        torch.as_tensor(np.ascontiguousarray(bound), dtype=torch.float32, device=share.device) for bound in (low, high)
    )
    return lows + (highs - lows) * share


def gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from Gamma(shape, 1), one for each entry of `shape`, all at least 1 (Marsaglia and Tsang 2000)."""
    noise = torch.randn(TRIES, *shape.shape, generator=generator, device=shape.device)
    threshold = torch.rand(TRIES, *shape.shape, generator=generator, device=shape.device).log_()
    scale = shape - 1 / 3
    stretch = (1 + noise / (9 * scale).sqrt()).clamp(min=1e-10).pow(3)
    accepted = threshold < noise.square() / 2 + scale * (1 - stretch + stretch.log())
    accepted[-1] = True
    first = accepted.to(torch.uint8).argmax(0, keepdim=True)
    return scale * stretch.gather(0, first).squeeze(0)


def beta(successes: Tensor, failures: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from Beta(successes, failures), one for each entry; both have one shape and are at least 1."""
    positive, negative = gamma(torch.stack([successes, failures]), generator).unbind()
    return positive / (positive + negative)


def dirichlet(concentration: Tensor, generator: torch.Generator) -> Tensor:
    """Draws `[..., K]` from Dirichlet(concentration [..., K]), all concentrations at least 1."""
    weights = gamma(concentration, generator)
    return weights / weights.sum(-1, keepdim=True)


def choice(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Indices `[N]` drawn in proportion to `weights` [N, K]. Where all weights are zero, the index has no meaning."""
    below = weights.cumsum(-1)
    draw = torch.rand(len(weights), 1, generator=generator, device=weights.device) * below[:, -1:]
    return (below <= draw).sum(-1).clamp(max=weights.shape[-1] - 1)
