"""MiniGrid's rooms (Chevalier-Boisvert et al. 2023, arXiv 2306.13831): hidden goals, and layouts by their seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from metarl.engines.gym_tasks import GymTasks
from metarl.engines.seeded_levels import SeededLevels
from metarl.imports import import_extra
from metarl.priors import Integers

SEEDS = 1_000_000  # layouts of each split: train has the seeds below, test as many from here on
MOVES = 3  # MiniGrid's first actions: turn left, turn right, go forward


def minigrid_hidden_goal(
    size: int = 6, max_episode_steps: int = 40, num_episodes: int = 4, workers: int = 0
) -> GymTasks:
    """MiniGrid's empty room with an unseen goal in any cell: the agent sees its own cell and direction only.

    `size` counts the walls, as in MiniGrid: 6 leaves 4 x 4 cells, of which all but the start's may be the goal. Reward
    is MiniGrid's, 1 - 0.9 steps taken / `steps`, on reaching the goal, which ends the episode. Actions: turn left, turn
    right, go forward. There are so few goals that test goals are training goals, as in VariBAD's grid (arXiv
    1910.08348).

    Raises ValueError for a size below 4, ImportError without the extra `minigrid`.
    """
    if size < 4:
        raise ValueError(f"minigrid-hidden-goal needs a size of at least 4, two of which are walls, got {size}")
    import_extra("minigrid", "minigrid")
    return GymTasks(
        f"minigrid-hidden-goal-{size}x{size}-v1",
        make=EmptyRoom(size, max_episode_steps),
        parameters={"goal": spaces.Box(1, size - 2, (2,), np.int64)},
        draw=Goals(size),
        max_episode_steps=max_episode_steps,
        num_episodes=num_episodes,
        share_tasks=True,
        workers=workers,
    )


def minigrid(
    environment: str = "MiniGrid-FourRooms-v0",
    max_episode_steps: int | None = None,
    num_episodes: int = 3,
    workers: int = 0,
) -> GymTasks:
    """Any MiniGrid environment: the task is the seed of its layout, which comes back in every episode of a trial.

    The agent sees MiniGrid's view of the cells before it (7 x 7, one-hot) and its direction, but not the mission: what
    is wanted can be found out, since it stays the same for the trial. Train and test have a million seeds each; an
    environment with few layouts (such as Empty-Random-5x5) may draw one of them from seeds of both. `steps` an episode
    are by default the environment's own.

    Raises ValueError for an unknown environment, or one without a time limit of its own, ImportError without the extra
    `minigrid`.
    """
    import_extra("minigrid", "minigrid")
    _check_known(environment)
    make = Layouts(environment, max_episode_steps)
    return GymTasks(
        environment.lower(),
        make=make,
        parameters={"seed": Integers(0, SEEDS - 1)},
        test={"seed": (SEEDS, 2 * SEEDS - 1)},
        max_episode_steps=max_episode_steps or make.own_steps(),
        num_episodes=num_episodes,
        show_tasks=True,
        workers=workers,
    )


@final
@dataclass(frozen=True)
class EmptyRoom:
    """Makes empty rooms with a hidden goal."""

    size: int
    max_episode_steps: int

    def __call__(self, render_mode: str | None = None) -> "gymnasium.Env[Any, Any]":
        room = import_extra("minigrid.envs", "minigrid").EmptyEnv
        # the view is not shown to the agent, and the smallest one is computed soonest
        return HiddenGoal(
            Rewarded(room(self.size, max_steps=self.max_episode_steps, agent_view_size=3, render_mode=render_mode))
        )


@final
class Rewarded(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Adds `success` to the info where MiniGrid gives a reward, which it does only when the mission is completed."""

    def __init__(self, env: "gymnasium.Env[Any, Any]") -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "success": float(reward) > 0}


@final
class HiddenGoal(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Moves the goal of an empty room to `options["task"]["goal"]` (x, y) and shows [x, y, direction], from 0."""

    def __init__(self, env: Any) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self.room = env.unwrapped
        self.observation_space = spaces.MultiDiscrete([self.room.width - 2, self.room.height - 2, 4])
        self.action_space = spaces.Discrete(MOVES)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = dict(options or {})
        x, y = options.pop("task")["goal"]
        _, info = self.env.reset(seed=seed, options=options)
        self.room.grid.set(self.room.width - 2, self.room.height - 2, None)  # where EmptyEnv puts it
        self.room.put_obj(import_extra("minigrid.core.world_object", "minigrid").Goal(), int(x), int(y))
        return self._seen(), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._seen(), reward, terminated, truncated, info

    def _seen(self) -> np.ndarray:
        x, y = self.room.agent_pos
        return np.array([x - 1, y - 1, self.room.agent_dir])


@final
@dataclass(frozen=True)
class Goals:
    """Draws goals from all cells of a room but the start, (1, 1)."""

    size: int

    def __call__(self, split: str, num_tasks: int, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        cell = rng.integers(1, (self.size - 2) ** 2, num_tasks)  # cell 0 is the start
        return {"goal": np.stack(np.divmod(cell, self.size - 2), 1) + 1}


@final
@dataclass(frozen=True)
class Layouts:
    """Makes environments whose layout is drawn from the seed that is the task."""

    environment: str
    max_episode_steps: int | None

    def __call__(self, render_mode: str | None = None) -> "gymnasium.Env[Any, Any]":
        import_extra("minigrid", "minigrid")  # registers its environments, in a worker process, too
        limit = {} if self.max_episode_steps is None else {"max_steps": self.max_episode_steps}
        env = gymnasium.make(self.environment, render_mode=render_mode, disable_env_checker=True, **limit)
        return OneHotView(Rewarded(SeededLevels(env)))

    def own_steps(self) -> int:
        """After how many steps the environment itself ends an episode."""
        env: Any = self()
        if env.unwrapped.max_steps < 1:  # of BabyAI
            raise ValueError(f"{self.environment} has a limit of its own for each layout: give max_episode_steps=...")
        return int(env.unwrapped.max_steps)


@final
class OneHotView(gymnasium.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """MiniGrid's view as ones and zeros: what is in each cell, its color and its state, and the agent's direction."""

    def __init__(self, env: "gymnasium.Env[Any, Any]") -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        names = import_extra("minigrid.core.constants", "minigrid")
        kinds = (names.OBJECT_TO_IDX, names.COLOR_TO_IDX, names.STATE_TO_IDX)
        self._rows = [np.eye(len(kind), dtype=np.float32) for kind in kinds]
        view: Any = env.observation_space
        cells = int(np.prod(view["image"].shape[:2]))
        size = cells * sum(map(len, self._rows)) + int(view["direction"].n)
        self.observation_space = spaces.Box(0, 1, (size,), np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        image, direction = observation["image"], np.zeros(4, np.float32)
        direction[observation["direction"]] = 1
        cells = [rows[image[..., channel]].ravel() for channel, rows in enumerate(self._rows)]
        return np.concatenate([*cells, direction])


def _check_known(environment: str) -> None:
    known = [name for name in gymnasium.registry if name.startswith(("MiniGrid-", "BabyAI-"))]
    if environment not in known:
        near = get_close_matches(environment, known, n=3) or known[:3]
        raise ValueError(
            f"MiniGrid has no environment {environment!r}; it has {', '.join(near)} and {len(known)} in all"
        )
