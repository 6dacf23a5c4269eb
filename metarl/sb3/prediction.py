"""Adaptive policies behind Stable-Baselines3's `predict`, which tells a policy observations only.

Policies that adapt read rewards, too, so a `TaskVecEnv` gives each array of observations what led to it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from metarl.sb3.spaces import SB3Spaces
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy, Transition


class Told(NamedTuple):
    """What a policy of metarl is told with an array of observations."""

    observation: Tensor  # [B, ...] in the family's own convention
    transition: Transition | None  # that led to it; None after a reset


@final
class ToldArray(np.ndarray):
    """An array of observations that remembers what led to it; whatever is computed from it does not."""

    told: Told | None = None


def with_told(observation: np.ndarray, told: Told) -> np.ndarray:
    """The same array, with what a policy of metarl is told with it."""
    array = observation.view(ToldArray)
    array.told = told
    return array


def predicted(
    make: Callable[[int], AdaptivePolicy], distribution: TaskDistribution, observation: Any, state: Any, begins: Any
) -> tuple[np.ndarray, AdaptivePolicy]:
    """Actions in Stable-Baselines3's convention `[B, ...]`, and the policy, which is the state of the next call.

    `make` makes a policy for so many tasks. It begins anew where `begins` [B] says that an episode does.
    Raises ValueError for observations that do not come from a `TaskVecEnv` as they are.
    """
    told: Told | None = getattr(observation, "told", None)
    if told is None:
        raise ValueError(
            "predict needs the observations of a metarl.sb3.TaskVecEnv as they come from it, because an agent that "
            "adapts reads rewards, too; metarl.evaluate plays it in any family"
        )
    policy: AdaptivePolicy = make(len(observation)) if state is None else state
    if state is None:
        policy.begin()
    elif told.transition is not None:
        policy.observe(Transition(*(x.to(policy.device) for x in told.transition)))
        if begins is not None and np.any(begins):
            policy.begin(torch.as_tensor(np.asarray(begins), device=policy.device))
    action = policy.act(told.observation.to(policy.device)).cpu()
    return SB3Spaces(distribution).counted(action).numpy(), policy
