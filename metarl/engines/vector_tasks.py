"""Any vector environment of gymnasium as a task distribution: for simulators that step a whole batch themselves."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import gymnasium
import torch

from metarl.engines.external_vector import ApplyTasks, SimulatorVectorEnv, resets_by_mask
from metarl.engines.gym_making import Question, answer
from metarl.engines.single_env import SlotEnv
from metarl.foreign import described
from metarl.spaces import plain_space
from metarl.tasks.batch import Tasks
from metarl.tasks.prior_tasks import Draw, EnvSpec, MakeExpert, PriorTasks, Range

MakeVector = Callable[[int], "gymnasium.vector.VectorEnv[Any, Any, Any]"]


@final
@dataclass(frozen=True)
class VectorTasks(PriorTasks):
    """A family of tasks made from a vector environment that gymnasium or a simulator of your own provides.

    >>> def make(num_envs):
    ...     return gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")
    >>> def set_gravity(envs, tasks):
    ...     envs.set_attr("g", tasks["gravity"].tolist())
    >>> pendulums = VectorTasks("pendulum-gravity-v1", make, {"gravity": (5.0, 15.0)}, apply=set_gravity)
    >>> pendulums.horizon
    200

    Its `metadata["autoreset_mode"]` may be any of gymnasium's. In NEXT_STEP and DISABLED the environments whose episode
    ended are reset in the same step, by `reset(options={"reset_mask": mask})`, so that the step which only resets never
    appears; in SAME_STEP they reset themselves and tell their last observation in `infos["final_obs"]`. All three need
    that masked reset for new tasks, as gymnasium's SyncVectorEnv and AsyncVectorEnv have it.

    Raises ValueError where `metarl.spaces.plain_space` does not know the spaces, a range is empty or unbounded, an
    episode has no time limit, the mode is not said or a masked reset resets the others, too.
    """

    name: str = field()
    """The versioned name, such as `pendulum-gravity-v1`: change it when the meaning changes."""
    make: MakeVector
    """Makes a vector environment of so many environments."""
    parameters: Mapping[str, Range]
    """The prior of each task parameter: (low, high) for a number, a Box for an array, or one of `metarl.priors`."""
    apply: ApplyTasks
    """`apply(envs, tasks)` puts the tasks, arrays `[num_envs, ...]` by name, into the environments; before resets."""
    test: Mapping[str, Range] | None = None
    """(low, high), or a prior, of the parameters that differ in test tasks; None: the same priors, other draws."""
    ood: Mapping[str, Range] | None = None
    """The same out of distribution; None: there is no such split."""
    draw: Draw | None = None
    """Draws values [num_tasks, ...] by name from (split, num_tasks, numpy generator) in place of uniform draws."""
    max_episode_steps: int | None = None
    """The horizon, or the environments' own time limit by their spec if that is shorter; None: their own."""
    num_episodes: int = 3
    """Episodes in a trial."""
    share_tasks: bool = False
    """Whether test tasks may be training tasks, because there are so few."""
    make_expert: MakeExpert | None = None
    """Makes the family's expert, a PrivilegedPolicy, from (num_tasks, device); None: no expert is known."""
    free_episodes: int = 0
    """The first episodes of a trial, whose return does not count: they are for exploring."""

    __hash__ = PriorTasks.__hash__  # else the dataclass makes one of its own, of mappings that have none

    def vector_env(self, num_envs: int, device: torch.device | str = "cpu") -> SimulatorVectorEnv:
        return SimulatorVectorEnv(self, self.make(num_envs), self.apply, device, self._env_spec.masked)

    def env(self, task: Tasks | None = None, render_mode: str | None = None) -> SlotEnv:
        """A batch of one as an ordinary environment; ValueError if a picture of it is asked for."""
        if render_mode is not None:
            raise ValueError(f"{self.name} is a vector environment and draws no pictures")
        return SlotEnv(self, task)

    @property
    def _env_spec(self) -> EnvSpec:
        key = (self.name, id(self.make), self.max_episode_steps)  # `look` keeps make alive: its identity is its own
        look = functools.partial(_env_spec, self.name, self.make, self.max_episode_steps)
        spec: EnvSpec = answer(Question(key, look))
        return spec


def _env_spec(family: str, make: MakeVector, max_episode_steps: int | None) -> EnvSpec:
    try:
        envs = make(2)
        try:
            spec = _look(envs, max_episode_steps)
            return spec._replace(masked=resets_by_mask(envs))
        finally:
            envs.close()
    except ValueError as error:
        raise ValueError(f"{family}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{family}: two environments cannot be tried: {described(error)}") from error


def _look(envs: "gymnasium.vector.VectorEnv[Any, Any, Any]", max_episode_steps: int | None) -> EnvSpec:
    limits = (max_episode_steps, None if envs.spec is None else envs.spec.max_episode_steps)
    horizon = min((limit for limit in limits if limit is not None), default=None)
    if horizon is None:
        raise ValueError("the environments have no time limit: give max_episode_steps=...")
    space = envs.single_observation_space
    observation_space = plain_space(space, "observation")
    action_space = plain_space(envs.single_action_space, "action")
    if observation_space.shape != space.shape:
        raise ValueError(f"observations of {space} must become vectors: gymnasium.wrappers.vector.FlattenObservation")
    title = type(envs).__name__ if envs.spec is None else envs.spec.id
    return EnvSpec(observation_space, action_space, horizon, title)
