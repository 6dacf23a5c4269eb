"""A prior over tasks, and the batch of environments that it hands out."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike
from torch import Tensor

from metarl import seeding
from metarl.devices import resolve_device
from metarl.scalars import python_scalar
from metarl.tasks.batch import Tasks

if TYPE_CHECKING:
    from metarl.tasks.policies import PrivilegedPolicy


Limits = tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]


@final
@dataclass(frozen=True)
class OptimalReturn:
    """The optimum of a task distribution: the mean return of each episode of a trial under the best adaptive policy.

    Free episodes (`TaskDistribution.free_episodes`) stand in `per_episode` and are not summed in `total`.

    >>> import metarl
    >>> optimum = metarl.make("bernoulli-bandit", arms=2, pulls=2).optimal_return()
    >>> optimum.kind, round(optimum.total, 3)
    ('exact', 1.083)
    """

    per_episode: tuple[float, ...] | None  # None where only the sum over the trial is known
    total: float  # sum over the episodes of a trial that count
    kind: Literal["exact", "simulated", "bound"]  # a bound is never exceeded, and may not be reached
    error: float = 0.0  # standard error of `total`, of a simulated limit
    source: str = ""  # how it was computed


@dataclass(frozen=True)
class TaskDistribution(ABC):
    """A prior over tasks that share their observation and action spaces.

    A family is a frozen dataclass: its options are its fields. `split` and `where` return changed copies.
    """

    split_name: str = field(default="train", kw_only=True)
    limits: Limits = field(default=(), kw_only=True)

    splits: ClassVar[tuple[str, ...]] = ("train", "test", "ood")
    # how many environments training opens at once, at most; None: as many as it needs, since a batch costs one step
    most_envs: ClassVar[int | None] = None
    # True where a published protocol tests on the training tasks, because there are so few that all are met in training
    splits_share_tasks: ClassVar[bool] = False
    # True where what is observed depends on the task by design: levels with walls to see, objects that start elsewhere
    observations_show_tasks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):  # numbers of numpy and torch: files could not keep them
            object.__setattr__(self, option.name, python_scalar(getattr(self, option.name)))
        if self.split_name not in self.splits:
            raise ValueError(f"{self.name} has the splits {', '.join(self.splits)}; got {self.split_name!r}")
        if self.num_episodes < 1:
            raise ValueError(f"{self.name}: need num_episodes >= 1, got {self.num_episodes}")
        if not 0 <= self.free_episodes < self.num_episodes:
            raise ValueError(
                f"{self.name}: need 0 <= free_episodes < num_episodes, "
                f"got {self.free_episodes} of {self.num_episodes} episodes"
            )
        for name, low, high in self.limits:
            self._check_limits(name, low, high)

    @property
    @abstractmethod
    def name(self) -> str:
        """Versioned name, such as `grid-navigation-v1`: one name says exactly one thing."""

    @property
    @abstractmethod
    def observation_space(self) -> spaces.Space[Any]: ...

    @property
    @abstractmethod
    def action_space(self) -> spaces.Space[Any]: ...

    @property
    @abstractmethod
    def task_space(self) -> spaces.Dict:
        """Named and bounded parameters of a task, each a Box."""

    @property
    @abstractmethod
    def horizon(self) -> int:
        """The most steps an episode takes."""

    @property
    @abstractmethod
    def num_episodes(self) -> int:
        """Episodes in a trial, by the published protocol; `horizon * episodes` steps make a trial in training."""

    @property
    def free_episodes(self) -> int:
        """The first episodes of a trial, whose return does not count: they are for exploring (default: none)."""
        return 0

    @abstractmethod
    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Parameters of `num_tasks` tasks of this split, within `limits`, on the generator's device."""

    @abstractmethod
    def vector_env(self, num_envs: int, device: torch.device | str = "cpu") -> "TaskVectorEnv":
        """A batch of environments, each in its own task."""

    @abstractmethod
    def env(self, task: Tasks | None = None, render_mode: str | None = None) -> "gymnasium.Env[Any, Any]":
        """One ordinary gymnasium environment in `task` (a batch of one; None: drawn at each reset without one)."""

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn | None:
        """The optimum of adaptive policies over `num_episodes` (default: a trial); None if it is not known."""
        return None

    def expert(self, num_tasks: int, device: torch.device | str = "cpu") -> "PrivilegedPolicy | None":
        """The best known privileged policy, which knows the task; None (the default) if none is known.

        Agents may imitate it in meta-training, and it is an upper limit in evaluation. Only the family knows the
        meaning of its task parameters, so nothing is guessed from names or shapes.
        """
        return None

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray | None:
        """A picture `[height, width, 3]` of one state, uint8; None where states are not drawn."""
        return None

    @final
    def sample(self, num_tasks: int, generator: torch.Generator) -> Tasks:
        """`num_tasks` tasks of this split on the generator's device; splits never share a random stream."""
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be at least 1, got {num_tasks}")
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        stream = seeding.generator(seed, self.split_name, device=generator.device)
        return Tasks(self._draw(num_tasks, stream), self.task_space)

    @final
    def tasks(self, **parameters: Any) -> Tasks:
        """Tasks from values: lists, arrays or tensors with a leading axis of tasks; checked against the task space."""
        converted = {}
        for name, values in parameters.items():
            box = self.task_space.spaces.get(name)
            dtype = torch.from_numpy(np.zeros(0, box.dtype)).dtype if box is not None else None
            converted[name] = torch.as_tensor(np.asarray(values), dtype=dtype)
        return Tasks(converted, self.task_space)

    @final
    def split(self, name: str) -> "TaskDistribution":
        """The same family restricted to the tasks of one split: train, test or ood."""
        return dataclasses.replace(self, split_name=name)

    @final
    def where(self, **bounds: tuple[Any, Any]) -> "TaskDistribution":
        """The prior narrowed or shifted to `name=(low, high)`; bounds may be numbers or one number per entry."""
        kept = {name: (low, high) for name, low, high in self.limits}
        for name, (low, high) in bounds.items():
            kept[name] = (_numbers(low), _numbers(high))
        return dataclasses.replace(self, limits=tuple((name, *pair) for name, pair in sorted(kept.items())))

    @final
    @property
    def options(self) -> dict[str, Any]:
        """The family's own options: every dataclass field except the split and the limits."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("split_name", "limits")]
        return {name: getattr(self, name) for name in names}

    def _interval(self, name: str, low: ArrayLike, high: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the prior of `name`: the limits if given, else `low` and `high`; in the parameter's shape."""
        shape = self.task_space[name].shape or ()
        lows, highs = next(((a, b) for key, a, b in self.limits if key == name), (low, high))
        return _spread(lows, shape), _spread(highs, shape)

    def _check_limits(self, name: str, low: tuple[float, ...], high: tuple[float, ...]) -> None:
        box = self.task_space.spaces.get(name)
        if not isinstance(box, spaces.Box):
            raise ValueError(f"{self.name} has no task parameter {name!r}; it has {sorted(self.task_space.keys())}")
        size = int(np.prod(box.shape))
        if {len(low), len(high)} - {1, size}:
            raise ValueError(f"where({name}=...): need 1 or {size} numbers for each bound, got {low} and {high}")
        lows, highs = self._interval(name, low, high)
        if not np.all((box.low <= lows) & (lows <= highs) & (highs <= box.high)):  # so that NaN fails, too
            raise ValueError(
                f"where({name}=...): need {box.low.min():g} <= low <= high <= {box.high.max():g}, got {low} and {high}"
            )


def _spread(values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """One number for every entry of `shape`, or one for each."""
    array = np.asarray(values)
    return np.full(shape, array.item()) if array.size == 1 else array.reshape(shape)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel().tolist())


Step = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]


class TaskVectorEnv(gymnasium.vector.VectorEnv[Tensor, Tensor, Tensor]):
    """`num_envs` environments of one family, as a `gymnasium.vector.VectorEnv` of tensors on `device`.

    >>> import metarl
    >>> rooms = metarl.make("grid-navigation")
    >>> env = rooms.vector_env(4)
    >>> env.set_tasks(rooms.sample(4, metarl.seeding.generator(0)))
    >>> observation, _ = env.reset(seed=0)
    >>> env.step(torch.ones(4, dtype=torch.int64))[1].shape
    torch.Size([4])

    An episode that ends starts the next one of the *same task* in the same step: `step` returns the first observation
    of the new episode, and the info holds the last one of the old episode in `final_obs` (valid for every slot, so for
    slots that go on it equals the returned observation). Actions of a Box are clipped to the space.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - gymnasium's own convention

    threaded: bool = False  # whether a step runs on threads of its own, from which torch's idle ones take the cores

    def __init__(self, distribution: TaskDistribution, num_envs: int, device: torch.device | str = "cpu") -> None:
        num_envs = python_scalar(num_envs)
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs must be an integer, at least 1, got {num_envs!r}")
        self.distribution = distribution
        self.num_envs = num_envs
        self.device = resolve_device(device)
        self._tasks: Tasks | None = None  # of every slot, on the device
        self.last_step: Step | None = None  # what a rollout noted last, for callbacks of training; None: nothing
        self.single_observation_space = distribution.observation_space
        self.single_action_space = distribution.action_space
        self.observation_space = batch_space(distribution.observation_space, num_envs)
        self.action_space = batch_space(distribution.action_space, num_envs)

    @property
    @final
    def tasks(self) -> Tasks:
        """The task of every slot; RuntimeError before the first `set_tasks`."""
        if self._tasks is None:
            raise RuntimeError("call set_tasks before reset and step")
        return self._tasks

    @property
    def state(self) -> Tensor | None:
        """The state of every slot `[num_envs, ...]`; None where it is not known."""
        return None

    @final
    def set_tasks(self, tasks: Tasks, mask: Tensor | None = None) -> None:
        """Put `tasks` (one per slot) into the slots where `mask` [num_envs] is true; they begin at the next reset.

        The first tasks go into all slots, whatever the mask. Raises ValueError unless there is one task of this family
        for each slot, and the mask is a bool for each.
        """
        self.check_tasks(tasks)
        if mask is not None and (tuple(mask.shape) != (self.num_envs,) or mask.dtype != torch.bool):
            raise ValueError(f"the mask needs {self.num_envs} bools, got {mask.dtype} of shape {tuple(mask.shape)}")
        tasks = tasks.to(self.device)
        if mask is None or self._tasks is None:
            self._tasks, changed = tasks, None
        else:
            changed = mask.to(self.device)
            self._tasks = tasks.where(changed, self._tasks)
        self._tasks_changed(changed)

    def _tasks_changed(self, mask: Tensor | None) -> None:
        """What an engine does when `tasks` are new where `mask` [num_envs] is true (None: in every slot)."""

    @abstractmethod
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode in every slot, or only where `options["reset_mask"]` is true; `seed` restarts the stream."""

    @abstractmethod
    def step(self, actions: Tensor) -> Step:
        """Observation, reward [num_envs], terminated, truncated, info. ValueError if actions have a wrong shape."""

    def resized(self, num_envs: int) -> "TaskVectorEnv":
        """As many environments of the same family as if newly made; these are closed. What takes long is kept."""
        self.close()
        return self.distribution.vector_env(num_envs, self.device)

    def check_tasks(self, tasks: Tasks) -> None:
        """ValueError unless there is exactly one task of this family for each slot."""
        if len(tasks) != self.num_envs:
            raise ValueError(f"one task per environment: got {len(tasks)} tasks for {self.num_envs} environments")
        if tasks.space != self.distribution.task_space:
            raise ValueError(f"these tasks are not tasks of {self.distribution.name}")

    def check_actions(self, actions: Tensor) -> None:
        expected = (self.num_envs, *(self.single_action_space.shape or ()))
        if tuple(actions.shape) != expected:
            raise ValueError(f"actions need shape {expected}, got {tuple(actions.shape)}")

    def check_finite_actions(self, actions: np.ndarray) -> None:
        """ValueError, which names slot and task, if an action is not finite: it is the policy's fault, not the task's.

        For engines that have actions on the host anyway.
        """
        broken = ~np.isfinite(actions).reshape(self.num_envs, -1).all(1)
        if broken.any():
            slot = int(np.flatnonzero(broken)[0])
            raise ValueError(
                f"the policy chose the action {actions[slot].tolist()} in environment {slot} of "
                f"{self.distribution.name}, in the task {self.tasks[slot].to_json()}"
            )
