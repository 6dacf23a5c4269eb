"""A batch of tasks: what varies between the environments of a family, as named and bounded tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from gymnasium import spaces
from torch import Tensor


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

    @staticmethod
    def joined(parts: "Sequence[Tasks]") -> "Tasks":
        """Several batches of one family as one."""
        first = parts[0]
        return Tasks({name: torch.cat([part[name] for part in parts]) for name in first.parameters}, first.space)

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
            low = torch.as_tensor(box.low, dtype=torch.float64, device=values.device)
            width = torch.as_tensor(box.high, dtype=torch.float64, device=values.device) - low
            share = torch.where(width > 0, (values - low) / torch.where(width > 0, width, 1.0), 0.0)
            columns.append((2 * share - 1).float().reshape(len(self), -1))
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
