"""One evaluator for every adaptive policy: whole trials on tasks that training did not draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl import seeding
from metarl.devices import out_of_memory_says
from metarl.evaluation.results import Evaluation
from metarl.scalars import python_scalar
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy
from metarl.terminal import progress
from metarl.trials.player import TrialStep, play, trial_length

MOST_TASK_VALUES = 1_000_000  # a result keeps at most so many task parameters; they can be drawn again


def evaluate(
    policy: AdaptivePolicy,
    distribution: TaskDistribution,
    num_tasks: int = 200,
    num_episodes: int | None = None,
    seed: int = 0,
    progress_bar: bool = False,
    *,
    name: str | None = None,
) -> Evaluation:
    """Measure how `policy` adapts in `num_tasks` trials of `num_episodes` episodes (default: the distribution's).

    The tasks depend on the seed and the split only, so every policy meets the same tasks. If there are more tasks than
    the policy has slots, they are played in several batches. `name` stands in tables (default: the policy's class).
    The policy is rewound first, so that the same call gives the same numbers.

    Raises ValueError for an action that the space does not have, for an observation or reward that is not finite, and
    if `num_episodes` is below 1 or leaves none after the free episodes.

    >>> import metarl
    >>> class Up(AdaptivePolicy):
    ...     def begin(self, mask=None): pass
    ...     def act(self, observation): return torch.ones(self.num_tasks, dtype=torch.int64)
    ...     def observe(self, transition): pass
    >>> evaluate(Up(21), metarl.make("grid-navigation"), num_tasks=21).returns.shape
    (21, 4)
    """
    num_tasks, seed = int(num_tasks), int(seed)  # from numpy, too: JSON takes neither
    episodes = trial_length(distribution, num_episodes)
    tasks = distribution.sample(num_tasks, task_stream(seed, distribution))
    policy.rewind()
    tally = _played(policy, distribution, tasks, episodes, seed, progress_bar)
    return Evaluation(
        distribution=distribution.name,
        options=_options(distribution),
        split=distribution.split_name,
        policy=type(policy).__name__ if name is None else name,
        seed=seed,
        tasks=_named(tasks),
        optimal=distribution.optimal_return(episodes),
        free_episodes=distribution.free_episodes,
        privileged=isinstance(policy, PrivilegedPolicy),
        **tally.arrays(),
    )


def _played(
    policy: AdaptivePolicy, distribution: TaskDistribution, tasks: Tasks, episodes: int, seed: int, progress_bar: bool
) -> "_Tally":
    """Sums over the trials of all tasks, as many at once as the policy has slots."""
    num_tasks, steps = len(tasks), episodes * distribution.horizon
    tally = _Tally.zeros(num_tasks, episodes, steps, policy.device)
    env = distribution.vector_env(policy.num_tasks, policy.device)
    bar = progress(total=-(-num_tasks // policy.num_tasks) * steps, unit="step", disable=not progress_bar)
    try:
        for batch, first in enumerate(range(0, num_tasks, policy.num_tasks)):
            slots = torch.arange(first, first + policy.num_tasks)
            env.set_tasks(tasks[slots % num_tasks])
            slots = slots.to(policy.device)
            with out_of_memory_says(f"give the policy fewer than {policy.num_tasks} tasks at once"):
                for step in play(
                    policy, env, episodes, seeding.stream_seed(seed, "evaluation", "environment", batch), first
                ):
                    tally.add(step, slots)
                    bar.update()
    finally:
        bar.close()
        env.close()
    return tally


def task_stream(seed: int, distribution: TaskDistribution) -> torch.Generator:
    """The random stream from which an evaluation with this seed draws its tasks. Training never uses it."""
    return seeding.generator(seed, "evaluation", distribution.split_name)


def _options(distribution: TaskDistribution) -> dict[str, Any]:
    """The family's options, and the bounds of a narrowed prior."""
    bounds = {name: [list(low), list(high)] for name, low, high in distribution.limits}
    options = {name: _plain(value) for name, value in distribution.options.items()}
    return {**options, **({"where": bounds} if bounds else {})}


def _plain(value: Any) -> Any:
    """An option as JSON can hold it: numbers, texts and their containers unchanged, other things by name."""
    value = python_scalar(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    return value.name if isinstance(value, TaskDistribution) else getattr(value, "__name__", repr(value))


def _named(tasks: Tasks) -> dict[str, Any] | None:
    """The tasks as JSON; None where they are too many numbers to keep."""
    values = sum(parameter.numel() for parameter in tasks.parameters.values())
    return tasks.to_json() if values <= MOST_TASK_VALUES else None


@final
@dataclass(frozen=True)
class _Tally:
    """Sums on the policy's device. The last row and column collect what does not count, in place of a mask."""

    returns: Tensor  # [N + 1, K + 1]
    steps: Tensor  # [N + 1, K + 1]
    success: Tensor  # [N + 1, K + 1]
    success_at_end: Tensor  # [N + 1, K + 1]
    reports: Tensor  # [1] whether any step reported success
    moments: Tensor  # [3, T] count, sum and sum of squares of the rewards at each step of the trial
    measures: dict[str, Tensor]  # [2, N + 1, K + 1] sum and count of what the infos tell, by name

    @staticmethod
    def zeros(num_tasks: int, num_episodes: int, num_steps: int, device: torch.device) -> "_Tally":
        grid = torch.zeros(num_tasks + 1, num_episodes + 1, dtype=torch.float64, device=device)
        moments = torch.zeros(3, num_steps, dtype=torch.float64, device=device)
        grids = (grid, grid.clone(), grid.clone(), grid.clone())
        return _Tally(*grids, torch.zeros(1, dtype=torch.bool), moments, {})

    def add(self, moment: TrialStep, task: Tensor) -> None:
        """Add one step of the tasks with numbers `task` [B]; numbers after the last task are padding."""
        num_tasks, num_episodes = (size - 1 for size in self.returns.shape)
        place = (task.clamp(max=num_tasks), moment.episode.clamp(max=num_episodes))
        reward = moment.transition.reward.double()
        counts = ((task < num_tasks) & (moment.episode < num_episodes)).double()
        self.returns.index_put_(place, reward, accumulate=True)
        self.steps.index_put_(place, torch.ones_like(reward), accumulate=True)
        self.moments[:, moment.step] += torch.stack([counts, counts * reward, counts * reward**2]).sum(1)
        if "success" in moment.info:
            success = torch.as_tensor(moment.info["success"], device=reward.device).double()
            self.success.index_put_(place, success, accumulate=True)
            self.success_at_end.index_put_(place, success * moment.transition.done, accumulate=True)
            self.reports.fill_(True)
        for name, values in moment.info.get("measures", {}).items():
            if name not in self.measures:
                self.measures[name] = torch.stack([torch.zeros_like(self.returns)] * 2)
            sums = self.measures[name]
            told = ~values.isnan()
            sums[0].index_put_(place, values.nan_to_num(0.0).double(), accumulate=True)
            sums[1].index_put_(place, told.double(), accumulate=True)

    def arrays(self) -> dict[str, Any]:
        """The array fields of an `Evaluation`."""
        count, total, squares = self.moments[:, self.moments[0] > 0].cpu().numpy()
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0) * count / np.maximum(count - 1, 1)
        reports = bool(self.reports)
        return {
            "returns": _counted(self.returns),
            "steps": _counted(self.steps).astype(np.int64),
            "success": _counted(self.success) > 0 if reports else None,
            "success_at_end": _counted(self.success_at_end) > 0 if reports else None,
            "step_rewards": mean,
            "step_errors": np.sqrt(variance / count),
            "step_counts": count.astype(np.int64),
            "measures": {name: _counted(sums[0] / sums[1]) for name, sums in self.measures.items()},
        }


def _counted(grid: Tensor) -> NDArray[np.float64]:
    return np.ascontiguousarray(grid[:-1, :-1].cpu().numpy())
