"""Rollouts for training: a policy acts in a batch of environments and observes every transition."""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metarl.devices import may_look
from metarl.finite import finite_rows, first_broken
from metarl.tasks.distribution import TaskVectorEnv
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.trials import stepping
from metarl.trials.trajectories import Trajectories


class StochasticPolicy(AdaptivePolicy):
    """An adaptive policy that knows the probability of its actions."""

    @property
    @abstractmethod
    def log_prob(self) -> Tensor:
        """Log-probability `[num_tasks]` in nats of the last actions, recorded while sampling."""


@torch.no_grad()
def collect(
    policy: StochasticPolicy,
    env: TaskVectorEnv,
    num_steps: int,
    *,
    seed: int,
    on_step: Callable[[], None] | None = None,
    one_episode: bool = False,
) -> Trajectories:
    """Play `num_steps` steps in every environment from a hard reset, and return them as `[B, T, ...]`.

    With `one_episode` it stops soon after every environment has ended an episode. The tasks of `env` must be set.
    `on_step` is called after every step. Raises ValueError, naming environment, step and task, if a reward or an
    observation is not finite.
    """
    with _threads_for(env):
        observation, _ = env.reset(seed=seed)
        columns = play_on(policy, env, observation, num_steps, on_step, one_episode)
        trajectories = Trajectories(env.tasks, *columns)
        check_finite(trajectories)
        return trajectories


@contextlib.contextmanager
def _threads_for(env: TaskVectorEnv) -> Iterator[None]:
    """One thread for torch while the environment uses threads of its own: idle threads of torch keep cores busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if env.threaded else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def play_on(
    policy: StochasticPolicy,
    env: TaskVectorEnv,
    observation: Tensor,
    num_steps: int,
    on_step: Callable[[], None] | None = None,
    one_episode: bool = False,
) -> list[Tensor]:
    """The tensor fields of `Trajectories`, from the first `observation` [B, ...] on.

    It copies nothing from the device to the host. With `one_episode` it asks now and then whether every environment
    has ended an episode, and then stops.
    """
    policy.begin()
    ended = torch.zeros(len(observation), dtype=torch.bool, device=observation.device)
    columns: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
    for played in range(1, num_steps + 1):
        action = policy.act(observation)
        following, reward, terminated, truncated, info = env.last_step = stepping.step(env, action)
        step = (observation, action, reward, terminated, truncated, policy.log_prob)
        for column, value in zip(columns, step, strict=True):
            column.append(value)
        policy.observe(Transition(observation, action, reward, terminated, truncated, info["final_obs"]))
        observation = following
        if on_step is not None:
            on_step()
        if one_episode:
            ended = ended | terminated | truncated
            if may_look(ended.device, played) and bool(ended.all()):
                break
    return [*(torch.stack(column, 1) for column in columns), observation]


def check_finite(trajectories: Trajectories) -> None:
    """Raise ValueError for the first observation, action or reward that is not finite: what, where and in which task.

    A step observes, acts and is rewarded, in this order, so the first says whose fault it is.
    """
    values = {
        "the environment gave observation": trajectories.observations,
        "the policy chose action": trajectories.actions,
        "the environment gave reward": trajectories.rewards,
    }
    rows = {what: x.flatten(0, 1) for what, x in values.items()}
    if first_broken(rows) is None:
        return
    broken = torch.stack([~finite_rows(x).view(trajectories.rewards.shape) for x in rows.values()])  # [3, B, T]
    step = int(broken.any(0).any(0).nonzero()[0])
    kind, environment = broken[:, :, step].nonzero()[0].tolist()
    what, value = list(values.items())[kind]
    raise ValueError(
        f"{what} {value[environment, step].tolist()} at step {step} of environment {environment}, "
        f"in the task {trajectories.tasks[environment].to_json()}"
    )
