"""Trials in which the task changes, and may come back."""

from dataclasses import dataclass
from typing import Any, final

import gymnasium
import torch
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from metarl.engines.current_task import CurrentTask
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import Step, TaskDistribution, TaskVectorEnv


@final
@dataclass(frozen=True)
class ChangingTasks(TaskDistribution):
    """Trials of a family in which the task changes, and may return.

    A task of this distribution is one task of the family for each different letter of `order`: with "aba" two tasks, of
    which the first returns. `change_episodes` are the episodes, counted from 0, at which the next letter begins. Every
    adaptive policy can be evaluated in it, and every agent trained. With `announced` each change is a hard reset of the
    policy, an upper limit for policies that must detect the change. It names no expert, because the expert of the
    family does not know of the changes.

    >>> import metarl
    >>> rooms = ChangingTasks(metarl.make("grid-navigation"), change_episodes=(3, 6), order="aba")
    >>> rooms.num_episodes, sorted(rooms.task_space)
    (9, ['a.goal', 'b.goal'])

    Raises ValueError unless `change_episodes` has one episode for each letter after the first, in rising order.
    """

    base: TaskDistribution
    """The family from which the tasks are drawn."""
    change_episodes: tuple[int, ...] = (4,)
    """Episodes, counted from 0, at which the task changes."""
    order: str = "ab"
    """The order of the tasks, one letter each."""
    announced: bool = False
    """Whether each change is a hard reset of the policy."""
    num_episodes: int = 0
    """Episodes in a trial; 0: as many after the last change as there were up to the first."""

    def __post_init__(self) -> None:
        if not isinstance(self.base, TaskDistribution):
            raise TypeError(f"base must be a TaskDistribution, got {self.base!r}")
        starts = (0, *self.change_episodes)
        if len(starts) != len(self.order) or list(starts) != sorted(set(starts)) or not self.change_episodes:
            raise ValueError(
                f"change_episodes must be rising episodes, one for each letter of order after the first, "
                f"got {self.change_episodes} for {self.order!r}"
            )
        if self.num_episodes == 0:
            object.__setattr__(self, "num_episodes", self.change_episodes[-1] + self.change_episodes[0])
        if self.limits:
            raise ValueError("where(...) narrows the family: ChangingTasks(family.where(...), ...)")
        super().__post_init__()

    @property
    def name(self) -> str:
        kind, version = self.base.name.rsplit("-", 1)
        return f"{kind}-changing-{version}"

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base.splits

    @property
    def splits_share_tasks(self) -> bool:  # type: ignore[override]
        return self.base.splits_share_tasks

    @property
    def observation_space(self) -> spaces.Space[Any]:
        return self.base.observation_space

    @property
    def action_space(self) -> spaces.Space[Any]:
        return self.base.action_space

    @property
    def task_space(self) -> spaces.Dict:
        inner = self.base.task_space
        return spaces.Dict({f"{letter}.{name}": inner[name] for letter in self.letters for name in inner})

    @property
    def horizon(self) -> int:
        return self.base.horizon

    @property
    def free_episodes(self) -> int:
        return self.base.free_episodes

    @property
    def letters(self) -> list[str]:
        """The different tasks of a trial."""
        return sorted(set(self.order))

    def part(self, tasks: Tasks, phase: int) -> Tasks:
        """The tasks of the family in one phase: 0 before the first change."""
        prefix = f"{self.order[phase]}."
        chosen = {name.removeprefix(prefix): x for name, x in tasks.parameters.items() if name.startswith(prefix)}
        return Tasks(chosen, self.base.task_space)

    def phase(self, episode: Tensor) -> Tensor:
        """Which phase each episode, counted from 0, belongs to."""
        return torch.bucketize(episode, torch.as_tensor(self.change_episodes, device=episode.device), right=True)

    def vector_env(self, num_envs: int, device: torch.device | str = "cpu") -> "ChangingVectorEnv":
        return ChangingVectorEnv(self, self.base.vector_env(num_envs, device))

    def env(self, task: Tasks | None = None, render_mode: str | None = None) -> "ChangingEnv":
        return ChangingEnv(self.base.env(None, render_mode), self, task)

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        family = self.base.split(self.split_name)
        drawn = {letter: family.sample(num_tasks, generator) for letter in self.letters}
        return {f"{letter}.{name}": x for letter in self.letters for name, x in drawn[letter].parameters.items()}


@final
class ChangingVectorEnv(TaskVectorEnv):
    """The family's environments, put into the next task after as many episodes as it takes.

    A change is a hard reset of the family's environment. Where it is announced, `changed` [num_envs] in the info says
    which slots begin another task.
    """

    def __init__(self, distribution: ChangingTasks, engine: TaskVectorEnv) -> None:
        super().__init__(distribution, engine.num_envs, engine.device)
        self._changing = distribution
        self._engine = engine
        self._episode = torch.full((self.num_envs,), -1, device=self.device)  # -1: a new task waits for the next reset

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        mask = (options or {}).get("reset_mask")
        ended = torch.ones_like(self._episode, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
        self._next_episode(ended.to(self.device))
        return self._engine.reset(seed=seed, options=options)

    def step(self, actions: Tensor) -> Step:
        observation, reward, terminated, truncated, info = self._engine.step(actions)
        changed = self._next_episode(terminated | truncated)
        if bool(changed.any()):
            observation, _ = self._engine.reset(options={"reset_mask": changed})
        if self._changing.announced:
            info["changed"] = changed
        return observation, reward, terminated, truncated, info

    def resized(self, num_envs: int) -> TaskVectorEnv:
        return ChangingVectorEnv(self._changing, self._engine.resized(num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        self._engine.close()

    def _tasks_changed(self, mask: Tensor | None) -> None:
        self._episode[... if mask is None else mask] = -1
        self._engine.set_tasks(self._changing.part(self.tasks, 0), mask)

    def _next_episode(self, ended: Tensor) -> Tensor:
        """Count the episodes that begin where `ended`; returns where another task begins with them."""
        before = self._changing.phase(self._episode)
        self._episode = self._episode + ended.long()
        after = self._changing.phase(self._episode)
        for phase in range(1, len(self._changing.order)):
            entered = (after == phase) & (before != phase)
            if bool(entered.any()):
                self._engine.set_tasks(self._changing.part(self.tasks, phase), entered)
        return after != before


@final
class ChangingEnv(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """One environment of the family that counts its resets and changes its task when it is time."""

    def __init__(self, env: "gymnasium.Env[Any, Any]", distribution: ChangingTasks, task: Tasks | None) -> None:
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, distribution=distribution, task=task)
        gymnasium.Wrapper.__init__(self, env)
        self._changing = distribution
        self._current = CurrentTask(distribution, task)

    @property
    def task(self) -> Tasks | None:
        """The current task; None before the first reset if the constructor got none."""
        return self._current.task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = dict(options or {})
        if seed is not None:
            self._current.generator.manual_seed(seed)
        task = self._current.choose(options)
        part = self._changing.part(task, int(self._changing.phase(torch.tensor(self._current.episode))))
        options["task"] = {name: x[0].numpy() for name, x in part.parameters.items()}
        return self.env.reset(seed=seed, options=options)
