"""The engine for any gymnasium environment: a loop over environments, in this process or in several."""

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, final

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl import seeding
from metarl.engines.info_numbers import concatenated, joined, measures_in, success_in
from metarl.engines.limit_watch import LimitWatch
from metarl.engines.workers import Worker, WorkerLost
from metarl.foreign import told
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import Step, TaskDistribution, TaskVectorEnv

MakeSlot = Callable[[int], "gymnasium.Env[Any, Any]"]
TOLD = 8  # tasks that an error names


class BatchStep(NamedTuple):
    """What one step of n environments led to."""

    observation: np.ndarray  # [n, ...] after the automatic reset
    reward: np.ndarray  # [n]
    terminated: np.ndarray  # [n]
    truncated: np.ndarray  # [n]
    final_obs: np.ndarray  # [n, ...] before the automatic reset
    success: np.ndarray  # [n] 1 or 0, and NaN where the environment says nothing
    measures: dict[str, np.ndarray]  # other numbers in the infos, each [n], NaN where an environment says nothing


@final
class EnvBatch:
    """The environments of the slots from `first` to `first + count - 1`, stepped one after another."""

    def __init__(self, distribution: TaskDistribution, first: int, count: int, make: MakeSlot | None = None) -> None:
        self._name = distribution.name
        self._first = first
        self._envs: list[gymnasium.Env[Any, Any]] = []
        self._new: list[dict[str, Any] | None] = [None] * count  # tasks that wait for the next reset
        self._now: list[dict[str, Any] | None] = [None] * count
        shape, dtype = distribution.observation_space.shape or (), distribution.observation_space.dtype
        self._observation: np.ndarray = np.zeros((count, *shape), dtype)
        try:
            for slot in range(count):
                build = distribution.env if make is None else functools.partial(make, first + slot)
                self._envs.append(self._guarded(build, slot))
        except BaseException:
            with contextlib.suppress(Exception):
                self.close()
            raise

    def set_tasks(self, tasks: list[dict[str, Any] | None]) -> None:
        """New parameters for the slots where there are any."""
        self._new = [old if task is None else task for old, task in zip(self._new, tasks, strict=True)]

    def reset(self, seeds: list[int | None], mask: list[bool]) -> np.ndarray:
        """Observations [n, ...] after a reset of the slots in the mask."""
        for slot, (seed, chosen) in enumerate(zip(seeds, mask, strict=True)):
            if chosen:
                self._guarded(self._reset, slot, slot, seed)
        return np.array(self._observation)

    def step(self, actions: np.ndarray) -> BatchStep:
        """One step of every slot, and a reset of the slots whose episode ended."""
        rows = [self._guarded(self._step, slot, slot, action) for slot, action in enumerate(actions)]
        *columns, infos = zip(*rows, strict=True)
        reward, terminated, truncated, final_obs, success = map(np.array, columns)
        final_obs, reward = final_obs.astype(self._observation.dtype), reward.astype(np.float32)
        return BatchStep(np.array(self._observation), reward, terminated, truncated, final_obs, success, joined(infos))

    def close(self) -> None:
        """Close every environment, whatever one of them raises; that is raised at the end."""
        with contextlib.ExitStack() as closing:
            for slot, env in enumerate(self._envs):
                closing.callback(self._guarded, env.close, slot)

    def _reset(self, slot: int, seed: int | None = None) -> None:
        task, self._new[slot] = self._new[slot], None
        if task is not None:
            self._now[slot] = task
        self._observation[slot] = self._envs[slot].reset(seed=seed, options=None if task is None else {"task": task})[0]

    def _step(self, slot: int, action: Any) -> tuple[float, bool, bool, Any, float, dict[str, float]]:
        observation, reward, terminated, truncated, info = self._envs[slot].step(action)
        numbers = success_in(info), measures_in(info)
        if terminated or truncated:
            self._reset(slot)
        else:
            self._observation[slot] = observation
        return float(reward), terminated, truncated, observation, *numbers

    def _guarded(self, method: Callable[..., Any], slot: int, *arguments: Any) -> Any:
        """The method's result; what it raises, or that it calls exit(), says which environment it was."""
        try:
            return method(*arguments)
        except BaseException as error:
            where = f"environment {self._first + slot} of {self._name}, task {_plain(self._now[slot] or {})}"
            raise told(error, where) from error


@final
class GymVectorEnv(TaskVectorEnv):
    """Steps the single environments of a distribution: in this process, or in `workers` processes side by side.

    Every slot has its own seed, so the result does not depend on the number of workers. `make`, if it is given, makes
    the environment of a slot by its number. `success` is in the info where an environment's info has `success` or
    `is_success`; other single numbers are in `measures` by name, [num_envs], NaN where nothing was told.
    An environment that raises, a worker that dies or takes longer
    than `timeout` seconds for a call, or an observation or reward that is not finite ends in an error that names the
    environments and their tasks, and closes all of them. `processes` are workers of environments that are given up.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        num_envs: int,
        device: torch.device | str = "cpu",
        workers: int = 0,
        timeout: float | None = None,
        make: MakeSlot | None = None,
        processes: Iterable[Worker] = (),
    ) -> None:
        super().__init__(distribution, num_envs, device)
        if workers < 0:
            raise ValueError(f"workers must be at least 0, got {workers}")
        self._workers, self._timeout = workers, timeout
        parts = [part.tolist() for part in np.array_split(range(num_envs), max(1, min(workers, num_envs)))]
        self._slices = [slice(part[0], part[-1] + 1) for part in parts]
        self._started = False
        self._make = make
        self._limits = LimitWatch(distribution.name, distribution.horizon, num_envs)
        self._batches: list[_Local | Worker] = []
        idle = list(processes)
        for s in self._slices:
            build = functools.partial(EnvBatch, distribution, s.start, s.stop - s.start, make)
            label = f"the worker of environments {s.start} to {s.stop - 1} of {distribution.name}"
            if idle:
                idle[0].rebuild(build, label)
                self._batches.append(idle.pop(0))
            else:
                self._batches.append(Worker(build, label, timeout) if workers else _Local(build()))
        for worker in idle:
            worker.close()
        self._receive()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        _ = self.tasks
        mask = (options or {}).get("reset_mask")
        if not self._started:
            seed, mask, self._started = seed or 0, None, True
        seeds = [None if seed is None else _slot_seed(seed, slot) for slot in range(self.num_envs)]
        chosen = [True] * self.num_envs if mask is None else torch.as_tensor(mask).tolist()
        self._limits.begin(np.array(chosen))
        return self._tensor(np.concatenate(self._call("reset", seeds, chosen))), {}

    def step(self, actions: Tensor) -> Step:
        self.check_actions(actions)
        if not self._started:
            raise RuntimeError("call reset before step")
        chosen = actions.cpu().numpy()
        self.check_finite_actions(chosen)
        parts = zip(*self._call("step", chosen), strict=True)
        *columns, measures = parts
        arrays = [np.concatenate(column) for column in columns]
        self._limits.step(arrays[2], arrays[3])
        observation, reward, terminated, truncated, final_obs, success = map(self._tensor, arrays)
        info: dict[str, Any] = {"final_obs": final_obs, "_final_obs": terminated | truncated}
        if not np.isnan(arrays[-1]).all():
            info |= {"success": success == 1, "_success": ~success.isnan()}
        if known := concatenated(measures, (s.stop - s.start for s in self._slices)):
            info["measures"] = {name: self._tensor(values) for name, values in known.items()}
        return observation, reward, terminated, truncated, info

    def resized(self, num_envs: int) -> TaskVectorEnv:
        if not self._workers:
            return super().resized(num_envs)
        processes = [batch for batch in self._batches if isinstance(batch, Worker)]
        self._batches = []  # the processes are not closed with these environments: to start them takes seconds
        self.close()
        again = (self.distribution, num_envs, self.device, self._workers, self._timeout, self._make)
        return GymVectorEnv(*again, processes)

    def close_extras(self, **kwargs: Any) -> None:
        for batch in self._batches:
            batch.dismiss()
        self.closed = True  # whatever a batch raises
        with contextlib.ExitStack() as closing:
            for batch in self._batches:
                closing.callback(batch.close)

    def _tasks_changed(self, mask: Tensor | None) -> None:
        tasks = self.tasks.to("cpu")
        chosen = [True] * self.num_envs if mask is None else mask.tolist()
        self._call("set_tasks", [_parameters(tasks, i) if new else None for i, new in enumerate(chosen)])

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every batch with its slots' part of each argument."""
        if self.closed:
            raise RuntimeError("this vector environment is closed")
        for batch, s in zip(self._batches, self._slices, strict=True):
            batch.send(method, *(argument[s] for argument in arguments))
        return self._receive()

    def _receive(self) -> list[Any]:
        try:
            return [self._result(batch, s) for batch, s in zip(self._batches, self._slices, strict=False)]
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self.close()  # half a step is lost: nothing that follows would be right
            raise

    def _result(self, batch: "_Local | Worker", slots: slice) -> Any:
        try:
            return batch.receive()
        except WorkerLost as error:
            raise WorkerLost(f"{error}; {self._tasks_of(slots)}") from None

    def _tasks_of(self, slots: slice) -> str:
        """The tasks of the first few of these environments, in words."""
        if self._tasks is None:
            return "its environments had no tasks yet"
        count = slots.stop - slots.start
        rows = self._tasks.to("cpu")[slots][:TOLD]
        told = [f"{slots.start + i}: {_plain(_parameters(rows, i))}" for i in range(len(rows))]
        more = f" and {count - TOLD} more" if count > TOLD else ""
        return f"its environments were in the tasks {', '.join(told)}{more}"


@final
class _Local:
    """An environment batch in this process, with the face of a worker."""

    def __init__(self, batch: EnvBatch) -> None:
        self._batch = batch
        self._call: Any = lambda: None

    def send(self, method: str, *arguments: Any) -> None:
        self._call = functools.partial(getattr(self._batch, method), *arguments)

    def receive(self) -> Any:
        return self._call()

    def dismiss(self) -> None:
        pass

    def close(self) -> None:
        self._batch.close()


def _parameters(tasks: Tasks, index: int) -> dict[str, Any]:
    return {name: values[index].numpy().copy() for name, values in tasks.parameters.items()}


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Arrays as numbers and lists, to print."""
    return {name: value.tolist() for name, value in parameters.items()}


def _slot_seed(seed: int, slot: int) -> int:
    """Some environments hand their seed to generators that take 32 bits only."""
    return seeding.stream_seed(seed, "environment", slot) % 2**31
