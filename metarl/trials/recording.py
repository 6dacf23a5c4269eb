"""One trial recorded step by step, for pictures and for inspection."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metarl import seeding
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy
from metarl.trials.player import TrialStep, play, trial_length


@final
@dataclass(frozen=True, eq=False)
class RecordedTrial:
    """The T steps of one trial of a policy in one task."""

    distribution: TaskDistribution
    policy: str
    task: Tasks  # a batch of one
    observations: NDArray[Any]  # [T, ...] before each action
    next_observations: NDArray[Any]  # [T, ...] after each action, before any automatic reset
    actions: NDArray[Any]  # [T, ...]
    rewards: NDArray[np.float32]  # [T]
    dones: NDArray[np.bool_]  # [T] true where an episode ended
    frames: NDArray[np.uint8] | None  # [T, height, width, 3]; None: the family does not draw its states

    def episodes(self) -> list[slice]:
        """The steps of each episode, as slices of T."""
        ends = (np.flatnonzero(self.dones) + 1).tolist()
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def record_trial(
    policy: AdaptivePolicy,
    distribution: TaskDistribution,
    task: Tasks,
    num_episodes: int | None = None,
    seed: int = 0,
    *,
    name: str | None = None,
) -> RecordedTrial:
    """Record every step of one trial in `task`, a batch of one task. The policy's first slot is recorded.

    The policy is rewound first, so that the same call gives the same trial.

    `num_episodes=None` takes the distribution's number. Raises ValueError if `task` is not a single task.
    """
    if len(task) != 1:
        raise ValueError(f"record_trial takes one task, got {len(task)}")
    episodes = trial_length(distribution, num_episodes)
    policy.rewind()
    env = distribution.vector_env(policy.num_tasks, policy.device)
    try:
        env.set_tasks(task.repeat(policy.num_tasks))
        moments = play(policy, env, episodes, seeding.stream_seed(seed, "evaluation", "recorded"))
        kept = [_first_slot(moment) for moment in moments if int(moment.episode[0]) < episodes]
    finally:
        env.close()
    columns = {key: np.stack([row[key] for row in kept]) for key in kept[0] if key != "state"}
    return RecordedTrial(
        distribution=distribution,
        policy=type(policy).__name__ if name is None else name,
        task=task,
        frames=_frames(distribution, task.to("cpu"), [row["state"] for row in kept]),
        **columns,
    )


def _first_slot(moment: TrialStep) -> dict[str, Any]:
    step = moment.transition
    columns = {
        "observations": step.observation,
        "next_observations": step.next_observation,
        "actions": step.action,
        "rewards": step.reward,
        "dones": step.done,
    }
    first: dict[str, Any] = {key: values[0].cpu().numpy() for key, values in columns.items()}
    return {**first, "state": None if moment.state is None else moment.state[:1].cpu()}


def _frames(distribution: TaskDistribution, task: Tasks, states: list[Tensor | None]) -> NDArray[np.uint8] | None:
    frames = [None if state is None else distribution.frame(state, task) for state in states]
    return (
        None if any(frame is None for frame in frames) else np.stack([frame for frame in frames if frame is not None])
    )
