"""What changes over meta-training, as functions of the share of it that is done."""

import math


def linear_decay(progress: float, warmup: float = 0.0) -> float:
    """1 falling to 0 in a straight line, after rising over the first `warmup` share of training."""
    rising = min(1.0, (progress + 1e-3) / warmup) if warmup > 0 else 1.0
    return rising * (1.0 - progress)


def growing_steps(progress: float, steps: int, first: int, growth: float) -> int:
    """Steps of a trial that starts with `first` and doubles until it has all `steps`, over the `growth` share."""
    if progress >= growth or first >= steps:
        return steps
    doublings = math.ceil(math.log2(steps / first))
    return min(steps, first << int(doublings * progress / growth))
