"""Tasks and their distributions: what varies between the environments of a family."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

from metarl import seeding

if TYPE_CHECKING:
    from metarl.agent import PrivilegedPolicy
    from metarl.vector import TaskVectorEnv

Limits = tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]


@final
@dataclass(frozen=True, eq=False)
class Tasks:
    """An immutable batch of N tasks: one tensor `[N, ...]` for each named, bounded parameter of `space`.

    >>> import metarl
    >>> bandits = metarl.make("bernoulli-bandit", arms=3)
    >>> tasks = bandits.sample(4, metarl.seeding.generator(0))
    >>> len(tasks), tasks["means"].shape, len(tasks[1:3])
    (4, torch.Size([4, 3]), 2)

    Raises ValueError if names or shapes differ from the space, or a value is not finite or out of bounds.
    """

    parameters: Mapping[str, Tensor]
    space: spaces.Dict

    def __post_init__(self) -> None:
        if set(self.parameters) != set(self.space.keys()):
            raise ValueError(f"a task has the parameters {sorted(self.space.keys())}, got {sorted(self.parameters)}")
        for name, values in self.parameters.items():
            _check_parameter(name, values, self._box(name))
        if len({len(values) for values in self.parameters.values()}) != 1:
            raise ValueError("all parameters need the same number of tasks")

    def _box(self, name: str) -> spaces.Box:
        box = self.space[name]
        if not isinstance(box, spaces.Box):
            raise TypeError(f"task parameter {name!r} must be a Box, got {type(box).__name__}")
        return box

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def __getitem__(self, index: "str | slice | Tensor | list[int] | int") -> Any:
        """A parameter by its name, or the tasks at an index (an integer gives a batch of one)."""
        if isinstance(index, str):
            return self.parameters[index]
        if isinstance(index, int):
            index = [range(len(self))[index]]
        return Tasks({name: values[index] for name, values in self.parameters.items()}, self.space)

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def repeat(self, count: int) -> "Tasks":
        """Each task `count` times in a row (task-major): N tasks become N * count."""
        return Tasks({name: values.repeat_interleave(count, 0) for name, values in self.parameters.items()}, self.space)

    def to(self, device: torch.device | str) -> "Tasks":
        """These tasks on `device`: the very same, not checked again, if they are there."""
        moved = {name: values.to(device) for name, values in self.parameters.items()}
        if all(moved[name] is values for name, values in self.parameters.items()):
            return self
        return Tasks(moved, self.space)

    def where(self, mask: Tensor, others: "Tasks") -> "Tasks":
        """These tasks where `mask` [N] is true, `others` elsewhere."""
        return Tasks(
            {
                name: torch.where(mask.reshape(-1, *[1] * (values.dim() - 1)), values, others[name])
                for name, values in self.parameters.items()
            },
            self.space,
        )

    def vector(self) -> Tensor:
        """All parameters as one float vector `[N, D]`, scaled from their bounds to [-1, 1]; for oracles and probes."""
        columns = []
        for name in sorted(self.parameters):
            box, values = self._box(name), self.parameters[name]
            low = torch.as_tensor(box.low, dtype=torch.float32, device=values.device)
            high = torch.as_tensor(box.high, dtype=torch.float32, device=values.device)
            columns.append((2 * (values - low) / (high - low).clamp(min=1e-12) - 1).reshape(len(self), -1))
        return torch.cat(columns, -1)

    def to_json(self) -> dict[str, Any]:
        """Plain lists by parameter name, the inverse of `TaskDistribution.tasks`."""
        return {name: values.tolist() for name, values in self.parameters.items()}


def _check_parameter(name: str, values: Tensor, box: spaces.Box) -> None:
    if values.dim() == 0 or tuple(values.shape[1:]) != box.shape:
        raise ValueError(f"task parameter {name!r} needs shape [N, *{box.shape}], got {tuple(values.shape)}")
    low = torch.as_tensor(box.low, device=values.device)
    high = torch.as_tensor(box.high, device=values.device)
    outside = ~((values >= low) & (values <= high))
    if outside.any():
        index = tuple(outside.nonzero()[0].tolist())
        raise ValueError(
            f"task {index[0]}: parameter {name!r} must lie in [{box.low.min():g}, {box.high.max():g}], "
            f"got {values[index].item():g} at {list(index[1:])}"
        )


@final
@dataclass(frozen=True)
class OptimalReturn:
    """The limit of a task distribution: the mean return of each episode of a trial under the best adaptive policy."""

    per_episode: tuple[float, ...] | None  # None where only the sum over the trial is known
    total: float  # sum over the episodes of a trial
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
    # True where a published protocol tests on the training tasks, because there are so few that all are met in training
    splits_share_tasks: ClassVar[bool] = False
    # True where what is observed depends on the task by design: levels with walls to see, objects that start elsewhere
    observations_show_tasks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.split_name not in self.splits:
            raise ValueError(f"{self.name} has the splits {', '.join(self.splits)}; got {self.split_name!r}")
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
    def episodes(self) -> int:
        """Episodes in a trial, by the published protocol; `horizon * episodes` steps make a trial in training."""

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
        """The limit of any adaptive policy over `num_episodes` (default: a trial), or None where it is not known."""
        return None

    def expert(self, num_tasks: int, device: torch.device | str = "cpu") -> "PrivilegedPolicy | None":
        """The best known policy of an agent that is told the task, or None (the default): no expert is known.

        It may teach in meta-training, and is the limit that others are measured against. Only the family can say what
        its task parameters mean, so nothing is guessed from names or shapes.
        """
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
