"""What changes over meta-training, as functions of the share of it that is done."""

import math

ENOUGH_TRIALS = 250
SHORTEST_REACH = 100.0  # steps


def linear_decay(fraction_done: float, warmup: float = 0.0) -> float:
    """1 falling to 0 in a straight line, after rising over the first `warmup` share of training."""
    rising = min(1.0, (fraction_done + 1e-3) / warmup) if warmup > 0 else 1.0
    return rising * (1.0 - fraction_done)


def growing_steps(fraction_done: float, steps: int, first: int, growing_fraction: float) -> int:
    """Steps of a training trial: `first` at the start, doubled until it has all `steps`.

    Trials are whole once `growing_fraction` of training is done.
    """
    if fraction_done >= growing_fraction or first >= steps:
        return steps
    doublings = math.ceil(math.log2(steps / first))
    return min(steps, first << int(doublings * fraction_done / growing_fraction))


def effective_horizon(steps: int, trial_steps: int, batch_steps: int) -> float:
    """Steps ahead that rewards count in trials of `steps` steps, `trial_steps` when they are whole.

    Sums over a whole trial are noise where few trials are averaged. So a discount reaches far beyond the trial only
    if a batch has 250 whole ones; else 100 steps, or a 250th of the batch if that is more.
    """
    if ENOUGH_TRIALS * trial_steps <= batch_steps:
        return 10.0 * steps
    return max(SHORTEST_REACH, batch_steps / ENOUGH_TRIALS)


def gamma_of_horizon(steps: float) -> float:
    """The factor per step whose sum over all steps is `steps`: a discount that looks that far; 0 up to one step."""
    return 1.0 - 1.0 / max(1.0, steps)
