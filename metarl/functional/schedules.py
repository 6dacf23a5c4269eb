"""Schedules of meta-training, as functions of the share of training that is done, and discounts from horizons."""

import math

ENOUGH_TRIALS = 250  # in a batch, for returns over whole trials


def linear_decay(fraction_done: float, warmup: float = 0.0) -> float:
    """A factor that falls linearly from 1 to 0. Over the first `warmup` share of training it also rises from near 0.

    >>> linear_decay(0.0), linear_decay(0.25), linear_decay(1.0)
    (1.0, 0.75, 0.0)
    """
    rising = min(1.0, (fraction_done + 1e-3) / warmup) if warmup > 0 else 1.0
    return rising * (1.0 - fraction_done)


def decay_after(start: float, fraction_done: float) -> float:
    """A factor that is 1 until the share `start` of training, then falls linearly to 0.

    >>> [decay_after(0.5, done) for done in (0.0, 0.5, 0.75, 1.0)]
    [1.0, 1.0, 0.5, 0.0]
    """
    return 1.0 if fraction_done < start else (1.0 - fraction_done) / max(1.0 - start, 1e-9)


def growing_steps(fraction_done: float, steps: int, first: int, growing_fraction: float) -> int:
    """Steps of a training trial: `first` at the start, then doubled several times, at most `steps`.

    Trials have all `steps` once `growing_fraction` of training is done.

    >>> [growing_steps(done, 40, 10, 0.5) for done in (0.0, 0.25, 0.5)]
    [10, 20, 40]
    """
    if fraction_done >= growing_fraction or first >= steps:
        return steps
    doublings = math.ceil(math.log2(steps / first))
    return min(steps, first << int(doublings * fraction_done / growing_fraction))


def effective_horizon(steps: int, trial_steps: int, batch_steps: int) -> float:
    """The number of steps ahead that rewards should count, in trials of `steps` of all `trial_steps` steps.

    It is one trial at least, because what an agent finds out in one episode pays in the next. Further ahead there is
    less bias, but returns are noisy if few trials are averaged. So it grows with the number of whole trials in a batch
    of `batch_steps`, to ten trials with 250 of them.

    >>> [effective_horizon(100, 100, batch) for batch in (1_000, 10_000, 25_000)]
    [100.0, 400.0, 1000.0]
    """
    trials = batch_steps / trial_steps
    return steps * min(10.0, max(1.0, 10.0 * trials / ENOUGH_TRIALS))


def gamma_of_horizon(steps: float) -> float:
    """The discount gamma per step with 1 + gamma + gamma² + ... = `steps`; 0 for one step or less.

    >>> gamma_of_horizon(100.0)
    0.99
    """
    return 1.0 - 1.0 / max(1.0, steps)
