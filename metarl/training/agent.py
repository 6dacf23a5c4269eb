"""The contract of agents, which learn across tasks."""

import dataclasses
import inspect
import json
import operator
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import Self

from metarl import devices, distributed, seeding
from metarl.devices import out_of_memory_says, resolve_device
from metarl.registry import resolve
from metarl.scalars import python_scalar
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv
from metarl.training.callback_model import CallbackModel, callback_chain
from metarl.training.checkpoints import fitting, load_checkpoint, save_checkpoint
from metarl.training.description import (
    Description,
    blamed_on,
    describe_distribution,
    differences,
    name_in_files,
    ranges,
    read_description,
    restore_distribution,
)
from metarl.training.options import refuse_former_names
from metarl.training.step_locals import StepLocals
from metarl.training.teaching import Teaching
from metarl.trials.context import Context


class Agent(CallbackModel):
    """Learns across the tasks of a distribution (outer loop) and makes policies that adapt inside a task (inner loop).

    A run is a function of distribution, options and seed: every random draw comes from a stream named by the seed and
    the number of the update. A checkpoint between two updates is therefore enough to resume a run exactly.
    Callbacks and loggers of Stable-Baselines3 work: what they read in `self.locals` is in `StepLocals`.

    Processes in one group of torch.distributed (`metarl.distributed.joined`) train one agent together. Each process
    learns from its share of every batch.

    Raises TypeError if `options` are not an instance of `Options` or the seed is no integer, and ValueError if torch's
    default dtype is not float32.
    """

    Options: ClassVar[type]  # a frozen dataclass, with a line of documentation under each field
    teaching: Teaching = Teaching()  # what it learns from in meta-training besides the reward
    several_processes: ClassVar[bool] = False  # whether several processes can train it
    task_tensors: ClassVar[
        tuple[str, ...]
    ] = ()  # how names of tensors begin that depend on what a task's parameters are
    for_less_memory: ClassVar[str] = "choose options for smaller batches"  # what to do if the device is out of memory

    def __init__(
        self, distribution: TaskDistribution, options: Any = None, *, seed: int = 0, device: torch.device | str = "auto"
    ) -> None:
        devices.check_default_dtype()
        super().__init__(distribution)
        self.options = self.Options() if options is None else options
        if not isinstance(self.options, self.Options):
            raise TypeError(f"options must be {self.Options.__qualname__}, got {type(self.options).__name__}")
        self.seed = operator.index(python_scalar(seed))
        self.device = resolve_device(device)
        self.updates = 0
        self._steps_at_update = 0
        self._processes = distributed.size()  # number of processes that trained it so far

    @property
    def trial_episodes(self) -> int:
        """Number of episodes in a trial for which the agent is trained."""
        return self.distribution.num_episodes

    @abstractmethod
    def train_step(self, fraction_done: float, on_step: Callable[[TaskVectorEnv], None]) -> dict[str, float]:
        """Collect one batch of trials, learn from it, and return what to log (`metarl.training.logs.METRICS`).

        `fraction_done` in [0, 1) is the share of training done. Calls `on_step` after each step of the vector
        environment.
        """

    @abstractmethod
    def attention_weights(self, context: Context) -> Tensor | None:
        """Attention weights `[B, L, H, T, T]` of L layers and H heads in trials `[B, T]`; None without attention.

        Row t has the weights of step t on all steps.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All tensors that learning changes, by name, as a checkpoint holds them."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        """Restore what `state` returned. Raises ValueError, naming `source`, if names or shapes differ."""

    @final
    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        progress_bar: bool = False,
        reset_num_timesteps: bool | None = None,
    ) -> Self:
        """Meta-train until `num_timesteps` reaches `total_timesteps`. After `load` it resumes exactly.

        An agent that is there already is told so in a UserWarning. `reset_num_timesteps` trains it on, as in
        Stable-Baselines3: True for `total_timesteps` from a count of zero, with all schedules (learning rate,
        imitation, length of trials) from their start; False for `total_timesteps` more, with schedules of the sum.

        `callback` is a Stable-Baselines3 callback, a list of callbacks or a function. If one returns False, training
        stops at the end of the update. Environments are closed at the end.
        With several processes, each calls its own callbacks: only the first should have callbacks that write files. If
        one process stops, all stop. All processes start from the state of the first.

        Raises ValueError if this agent cannot train in several processes, and MemoryError, which names the options to
        lower, if the device is out of memory.
        """
        self.check_processes()
        if reset_num_timesteps:
            self.num_timesteps = self._steps_at_update = 0
        elif reset_num_timesteps is not None:
            total_timesteps += self.num_timesteps
        self._start_together(total_timesteps)
        if self.num_timesteps >= total_timesteps:
            warnings.warn(
                f"trained for {self.num_timesteps} steps already, and learn({total_timesteps}) trains until there are "
                "so many: give reset_num_timesteps=False to train for so many more, True to begin anew",
                stacklevel=2,
            )
        try:
            self._train(total_timesteps, callback, progress_bar)
        finally:
            self.close()
        return self

    def _train(self, total_timesteps: int, callback: Any, progress_bar: bool) -> None:
        self._opens = True
        callbacks = callback_chain(self, callback, progress_bar)
        start = time.monotonic()
        told = StepLocals(lambda: self._env, {"self": self, "total_timesteps": total_timesteps})
        callbacks.on_training_start(told, {})
        going = True

        def on_step(env: TaskVectorEnv) -> None:
            nonlocal going
            self._env = env
            self.num_timesteps += env.num_envs * distributed.size()
            going = callbacks.on_step() and going

        while going and self.num_timesteps < total_timesteps:
            callbacks.on_rollout_start()
            with out_of_memory_says(self.for_less_memory):
                metrics = distributed.averaged_metrics(self.train_step(self.num_timesteps / total_timesteps, on_step))
            self.updates += 1
            self._steps_at_update = self.num_timesteps
            self._log({**metrics, "time/time_elapsed": time.monotonic() - start})
            callbacks.on_rollout_end()
            going = not distributed.largest(not going)
        callbacks.on_training_end()

    @final
    def transfer(self, distribution: TaskDistribution) -> Self:
        """A new agent with these parameters, to train on in another family of the same spaces: its count is zero.

        What depends on the parameters of a task, such as a privileged critic's view of them, starts anew where the two
        families differ in them. Raises ValueError if observations or actions differ.

        >>> import metarl
        >>> from metarl.agents import RL2, RL2Options
        >>> few, many = (metarl.make("bernoulli-bandit", arms=5, pulls=pulls) for pulls in (5, 10))
        >>> RL2(few, RL2Options(width=8), device="cpu").transfer(many).distribution.num_episodes
        10
        """
        for role in ("observation", "action"):
            mine, other = (getattr(family, f"{role}_space") for family in (self.distribution, distribution))
            if mine != other:
                raise ValueError(
                    f"the {role} space of {self.distribution.name} is {mine}, that of {distribution.name} {other}: an "
                    "agent goes on in families of the same spaces only"
                )
        agent = type(self)(distribution, self.options, seed=self.seed, device=self.device)
        other_tasks = self.distribution.task_space != distribution.task_space
        state = fitting(self.state(), agent.state(), self.task_tensors, other_tasks)
        agent.load_state(state, self.distribution.name)
        agent.updates = self.updates  # so that random streams go on
        agent._processes = self._processes
        return agent

    @final
    def save(self, path: str | Path) -> None:
        """Write a checkpoint of the last finished update: one file, written whole or not at all.

        Do not call it after an update that raised: some parameters may have changed already. `learn` never saves such a
        state. Raises OSError if the file cannot be written.
        """
        counts = {"updates": self.updates, "num_timesteps": self._steps_at_update, "processes": self._processes}
        save_checkpoint(path, self.state(), {**self._settings(), **counts})

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: torch.device | str = "auto",
        distribution: TaskDistribution | None = None,
        trust: bool = False,
    ) -> Self:
        """The agent saved at `path`.

        `distribution` must be given if it cannot be made again from its registered name and plain options. It may be
        another family of the same spaces, of which a UserWarning tells if it has another name (see `transfer`).
        With `trust`, the file may name an agent or a distribution as `module:attribute` that is not registered.
        Importing it runs code. The class that `load` is called on needs no trust.

        Raises ValueError if the file is damaged, or was saved by another agent or for other spaces.
        """
        source = str(path)
        tensors, values = load_checkpoint(path, resolve_device(device))
        description = read_description(values, source)
        own = description.agent == name_in_files(cls, "agent") and not inspect.isabstract(cls)
        agent_class = cls if own else find_agent(description.agent, None if trust else source)
        if not issubclass(agent_class, cls):
            raise ValueError(f"{path} holds a {agent_class.__name__}, not a {cls.__name__}")
        if distribution is None:
            distribution = restore_distribution(description.distribution, source, trust)
        with blamed_on(source):
            refuse_former_names(description.options, agent_class.Options)
            options = agent_class.Options(**description.options)
            agent: Self = agent_class(distribution, options, seed=description.seed, device=device)
        elsewhere = distribution.name != description.distribution["name"] or _other_parameters(values, distribution)
        state = fitting(tensors, agent.state(), agent.task_tensors) if elsewhere else tensors
        agent._restore(state, description, source)
        if elsewhere:
            trained = f"{path} was trained on {description.distribution['name']}"
            warnings.warn(f"{trained}, and goes on in {distribution.name} with its own task parameters", stacklevel=2)
        return agent

    @final
    def resume(self, path: str | Path) -> None:
        """Go on from the checkpoint at `path`, which an agent of the same seed, options and distribution saved.

        Nothing that the file names is imported. Raises ValueError, which lists the differences, if it is that of
        another run.
        """
        tensors, values = load_checkpoint(path, self.device)
        description = read_description(values, str(path))
        if different := differences(values, self._settings()):
            raise ValueError(f"{path} is the checkpoint of another run: {'; '.join(different)}")
        self._restore(tensors, description, str(path))

    @final
    def check_processes(self) -> None:
        """Raise ValueError if there are several processes and this agent can train in one only."""
        if distributed.size() > 1 and not self.several_processes:
            raise ValueError(f"{type(self).__name__} trains in one process, not in {distributed.size()}")

    def _restore(self, tensors: Mapping[str, Tensor], description: Description, source: str) -> None:
        with blamed_on(source):
            self.load_state(tensors, source)
        self.updates = description.updates
        self.num_timesteps = self._steps_at_update = description.num_timesteps
        self._processes = description.processes

    def _stream_seed(self, *names: str | int) -> int:
        """The seed of a random stream of this update; each of several processes has its own."""
        return seeding.stream_seed(self.seed, names[0], self.updates, *names[1:], *distributed.stream_names())

    def _stream(self, name: str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self._stream_seed(name))

    def _settings(self) -> dict[str, Any]:
        return {
            "agent": name_in_files(type(self), "agent"),
            "options": dataclasses.asdict(self.options),
            "teaching": dataclasses.asdict(self.teaching),
            "distribution": describe_distribution(self.distribution),
            "ranges": ranges(self.distribution),
            "seed": self.seed,
        }

    def _start_together(self, total_timesteps: int) -> None:
        """Give all processes the state of the first. ValueError if another number of processes trained it."""
        if distributed.size() > 1:
            distributed.check_same(json.dumps([self._settings(), total_timesteps], default=str))
            counts = torch.tensor([self.updates, self._steps_at_update, self._processes])
            first = distributed.from_first({"counts": counts, **self.state()})
            self.updates, self._steps_at_update, self._processes = first.pop("counts").tolist()
            self.num_timesteps = self._steps_at_update
            self.load_state(first, "the first process")
        if self.updates and self._processes != distributed.size():
            raise ValueError(
                f"this agent was trained by {self._processes} processes and goes on exactly by as many only, "
                f"not by {distributed.size()}"
            )
        self._processes = distributed.size()

    def _log(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.logger.record(name, value)
        self.logger.record("time/iterations", self.updates)
        self.logger.record("time/total_timesteps", self.num_timesteps)
        self.logger.dump(self.num_timesteps)


def _other_parameters(values: Mapping[str, Any], distribution: TaskDistribution) -> bool:
    """Whether a checkpoint says that its tasks had parameters of other names."""
    known = values.get("ranges")
    return isinstance(known, dict) and set(known) != set(ranges(distribution))


def find_agent(name: str, source: str | None = None) -> type[Agent]:
    """The agent class called `name`; `source` as in `registry.resolve`. TypeError if it is not a complete `Agent`."""
    kind = resolve(name, "agent", source)
    if not (isinstance(kind, type) and issubclass(kind, Agent)) or inspect.isabstract(kind):
        raise TypeError(f"{name} must be a subclass of metarl.Agent, with all its methods, got {kind!r}")
    return kind
