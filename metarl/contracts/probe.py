"""Recordings of a task distribution under exploring actions, from which the contract's clauses are judged."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl import seeding
from metarl.spaces import sample_actions
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution

SLOTS = 8
ROUNDS = 16  # how often a pair of tasks that differ is looked for: sparse rewards hide most of them
LONGEST = 128  # steps between two resets of a recording
LONGEST_EPISODE = 10_000  # steps for which it is seen whether an episode ends


class Recording(NamedTuple):
    """Two phases of T steps of B slots in the same tasks, with a soft reset before each."""

    first: Tensor  # [2, B, ...]
    observation: Tensor  # [2, T, B, ...]
    final_obs: Tensor  # [2, T, B, ...]
    reward: Tensor  # [2, T, B]
    terminated: Tensor  # [2, T, B]
    truncated: Tensor  # [2, T, B]

    @property
    def done(self) -> Tensor:
        return self.terminated | self.truncated

    @property
    def ages(self) -> Tensor:
        """[2, T, B] how many steps each episode had taken."""
        age, rows = torch.zeros_like(self.done[:, 0], dtype=torch.int64), []
        for done in self.done.unbind(1):
            rows.append(age + 1)
            age = torch.where(done, 0, age + 1)
        return torch.stack(rows, 1)

    def slots(self, mask: Tensor) -> "Recording":
        return Recording(self.first[:, mask], *(part[:, :, mask] for part in self[1:]))

    def differences(self, other: "Recording") -> Tensor:
        """[2, T, B] where anything but the automatic reset's observation differs."""
        parts = [(a != b).flatten(3).any(-1) if a.dim() > 3 else a != b for a, b in zip(self[2:], other[2:])]  # noqa: B905
        return torch.stack(parts).any(0)

    def parting(self, other: "Recording") -> str:
        """Where another recording first goes another way, in words."""
        if not torch.equal(self.first, other.first):
            return "from the first observation on"
        step = int(self.differences(other)[0].any(1).int().argmax()) if self.differences(other)[0].any() else -1
        return f"from step {step + 1} on" if step >= 0 else "after a soft reset"

    def equals(self, other: "Recording") -> bool:
        return all(torch.equal(a, b) for a, b in zip(self, other, strict=True))


class Pair(NamedTuple):
    """Two tasks under the same actions and seeds."""

    one: Tasks
    other: Tasks
    actions: Tensor  # [T, B, ...]
    recording_one: Recording
    recording_other: Recording

    @property
    def differs(self) -> bool:
        """Whether they differ within the first episode and again after a soft reset."""
        return self.differs_at_first and self.differs_later

    @property
    def differs_at_first(self) -> bool:
        """Whether they differ within the first episode."""
        done = self.recording_one.done[0] | self.recording_other.done[0]
        first_episode = (done.cumsum(0) - done.long()) == 0
        return bool((self.recording_one.differences(self.recording_other)[0] & first_episode).any())

    @property
    def differs_later(self) -> bool:
        """Whether they differ after a soft reset."""
        return bool(self.recording_one.differences(self.recording_other)[1].any())


@final
@dataclass(frozen=True)
class Probe:
    """A distribution under examination; the same seed gives the same examination."""

    distribution: TaskDistribution
    seed: int
    device: torch.device | str

    def generator(self, *names: str | int) -> torch.Generator:
        return seeding.generator(self.seed, "contract", *names)

    def tasks(self, count: int, *names: str | int, split: str | None = None) -> Tasks:
        distribution = self.distribution if split is None else self.distribution.split(split)
        return distribution.sample(count, self.generator("tasks", *names))

    @property
    def env_seed(self) -> int:
        return env_seed(self.seed)

    @property
    def steps(self) -> int:
        return min(max(32, self.distribution.horizon + 2), LONGEST)

    def record(self, tasks: Tasks, actions: Tensor, before: Tasks | None = None) -> Recording:
        """Both phases under the same `actions` [T, B, ...]; the first reset is seeded. `before`: tasks played first."""
        env = self.distribution.vector_env(len(tasks), self.device)
        try:
            if before is not None:
                env.set_tasks(before.to(self.device))
                _phase(env, self.env_seed, actions)
            env.set_tasks(tasks.to(self.device))
            phases = [_phase(env, self.env_seed, actions), _phase(env, None, actions)]
        finally:
            env.close()
        return Recording(*(torch.stack(parts).cpu() for parts in zip(*phases, strict=True)))

    @functools.cached_property
    def pair(self) -> Pair:
        """The first pair of tasks that is seen to differ, else the last one tried."""
        for number in range(ROUNDS):
            tasks = self.tasks(2, "pair", number)
            actions = explore(self.distribution.action_space, self.steps, SLOTS, self.generator("actions", number))
            one, other = tasks[0].repeat(SLOTS), tasks[1].repeat(SLOTS)
            pair = Pair(tasks[0], tasks[1], actions, self.record(one, actions), self.record(other, actions))
            if pair.differs:
                break
        return pair

    @functools.cached_property
    def long(self) -> Recording:
        """Two slots for longer than the horizon, if that is not very long."""
        steps, tasks = min(self.distribution.horizon + 1, LONGEST_EPISODE), self.pair.one.repeat(2)
        return self.record(tasks, explore(self.distribution.action_space, steps, 2, self.generator("long")))


def env_seed(seed: int) -> int:
    """What `reset(seed=...)` of an environment is given: any seed of a check as one that every environment takes."""
    return seed % 2**31


def explore(space: spaces.Space[Any], steps: int, slots: int, generator: torch.Generator) -> Tensor:
    """Actions [steps, slots, ...]: a new draw each time in some slots, held for long or for ever in others."""
    drawn = sample_actions(space, steps * slots, generator).reshape(steps, slots, *(space.shape or ()))
    keep = torch.tensor([0.0, 0.9, 1.0, 1.0]).repeat(slots)[:slots]
    for step in range(1, steps):
        kept = torch.rand(slots, generator=generator) < keep
        drawn[step, kept] = drawn[step - 1, kept]
    return drawn


def _phase(env: Any, seed: int | None, actions: Tensor) -> tuple[Tensor, ...]:
    first, _ = env.reset(seed=seed)
    rows = []
    for action in actions.to(env.device):
        observation, reward, terminated, truncated, info = env.step(action)
        rows.append((observation, info["final_obs"], reward, terminated, truncated))
    return (first.clone(), *(torch.stack([part.clone() for part in parts]) for parts in zip(*rows, strict=True)))
