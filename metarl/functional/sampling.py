"""Random draws whose every entry depends on its own noise only, so that no task's luck depends on another task.

torch's own gamma and multinomial draws use up more or less of the stream as their parameters demand.
"""

import numpy as np
import torch
from torch import Tensor

TRIES = 4  # the last is taken if all are rejected: once in 100 000 draws


def uniform(num: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
    """Float32 draws `[num, *low.shape]` from U[low, high], on the generator's device."""
    return between(low, high, torch.rand(num, *low.shape, generator=generator, device=generator.device))


def between(low: np.ndarray, high: np.ndarray, share: Tensor) -> Tensor:
    """The points `[N, *low.shape]` that lie these shares in [0, 1] of the way from `low` to `high`, in float32."""
    lows, highs = (
        torch.as_tensor(np.ascontiguousarray(bound), dtype=torch.float32, device=share.device) for bound in (low, high)
    )
    return lows + (highs - lows) * share


def gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from Gamma(shape, 1), for shapes of at least 1, by rejection (Marsaglia and Tsang 2000)."""
    noise = torch.randn(TRIES, *shape.shape, generator=generator, device=shape.device)
    threshold = torch.rand(TRIES, *shape.shape, generator=generator, device=shape.device).log_()
    scale = shape - 1 / 3
    stretch = (1 + noise / (9 * scale).sqrt()).clamp(min=1e-10).pow(3)
    accepted = threshold < noise.square() / 2 + scale * (1 - stretch + stretch.log())
    accepted[-1] = True
    first = accepted.to(torch.uint8).argmax(0, keepdim=True)
    return scale * stretch.gather(0, first).squeeze(0)


def beta(successes: Tensor, failures: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from Beta(successes, failures), both at least 1."""
    positive, negative = gamma(torch.stack([successes, failures]), generator).unbind()
    return positive / (positive + negative)


def dirichlet(concentration: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from Dirichlet(concentration) over the last axis, for concentrations of at least 1."""
    weights = gamma(concentration, generator)
    return weights / weights.sum(-1, keepdim=True)


def choice(weights: Tensor, generator: torch.Generator) -> Tensor:
    """An index `[N]` drawn in proportion to `weights` [N, K]; any index where all weights are zero."""
    below = weights.cumsum(-1)
    draw = torch.rand(len(weights), 1, generator=generator, device=weights.device) * below[:, -1:]
    return (below <= draw).sum(-1).clamp(max=weights.shape[-1] - 1)
