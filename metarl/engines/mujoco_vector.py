"""The engine of MuJoCo families: physics of all environments in one call, everything around it in numpy."""

from importlib import import_module
from typing import Any, NamedTuple, final

import gymnasium
import numpy as np
import torch
from gymnasium.utils.seeding import np_random
from numpy.typing import NDArray
from torch import Tensor

from metarl import seeding
from metarl.engines.current_task import CurrentTask
from metarl.engines.mujoco_dynamics import MujocoDynamics
from metarl.engines.mujoco_simulation import Flags, Floats, Rows, simulate
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import Step, TaskVectorEnv


class BatchStep(NamedTuple):
    """What one step of n environments led to, before any of them restarts."""

    observation: Floats  # [n, ...]
    reward: Floats  # [n]
    terminated: Flags  # [n]
    truncated: Flags  # [n]
    diverged: Flags  # [n]


@final
class MujocoVectorEnv(TaskVectorEnv):
    """Steps all environments at once, on as many threads as torch uses in this process.

    Every slot draws its first states from a generator of its own, in the order of gymnasium's environments. An episode
    whose physics diverges is terminated with a last reward of 0, and `diverged` in the info says where.
    """

    def __init__(self, family: MujocoDynamics, num_envs: int, device: torch.device | str = "cpu") -> None:
        super().__init__(family, num_envs, device)
        self._family = family
        self._model = family.model
        self.threaded = torch.get_num_threads() > 1
        self._seconds = family.substeps * self._model.opt.timestep
        self.simulations = simulate(self._model, num_envs, family.outputs, torch.get_num_threads())
        self.generators = self._generators(0)
        self._values: dict[str, Floats] = {}
        self._started = False
        self._elapsed = np.zeros(num_envs, np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        _ = self.tasks
        if seed is not None:
            self.generators = self._generators(seed)
        mask = (options or {}).get("reset_mask")
        if mask is None or not self._started:
            rows = np.arange(self.num_envs)
        else:
            rows = np.flatnonzero(torch.as_tensor(mask).cpu().numpy())
        self._started = True
        self._restart(rows)
        return self._tensor(self._observe()), {}

    def step(self, actions: Tensor) -> Step:
        after = self.advance(actions)
        done = after.terminated | after.truncated
        self._restart(np.flatnonzero(done))
        following = self._tensor(self._observe() if done.any() else after.observation)
        final_obs, reward, terminated, truncated, ended = map(
            self._tensor, (after.observation, after.reward, after.terminated, after.truncated, done)
        )
        info = {"final_obs": final_obs, "_final_obs": ended}
        if after.diverged.any():
            info["diverged"] = self._tensor(after.diverged)
        return following, reward, terminated, truncated, info

    def advance(self, actions: Tensor) -> BatchStep:
        """One step without automatic restarts."""
        self.check_actions(actions)
        if not self._started:
            raise RuntimeError("call reset before step")
        action = np.clip(actions.cpu().numpy(), self.single_action_space.low, self.single_action_space.high)  # type: ignore[attr-defined]
        now, before = self.simulations, np.array(self._family.position(self.simulations))
        now.ctrl[:] = action
        diverged = now.step(self._family.substeps)
        self._elapsed += 1
        velocity = (self._family.position(now) - before) / self._seconds
        reward = self._family.reward(velocity, action.astype(np.float64), now, self._values)
        terminated = self._family.ended(now) | diverged
        truncated = (self._elapsed >= self._family.horizon) & ~terminated
        return BatchStep(self._observe(), np.where(diverged, 0.0, reward), terminated, truncated, diverged)

    def close_extras(self, **kwargs: Any) -> None:
        self._started = False

    def _tasks_changed(self, mask: Tensor | None) -> None:
        rows = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask.cpu().numpy())
        self._values = {name: values.cpu().numpy() for name, values in self.tasks.parameters.items()}
        fields = self._family.model_fields({name: values[rows] for name, values in self._values.items()})
        if fields and len(rows):
            self.simulations.change(fields, rows)

    def _generators(self, seed: int) -> list[np.random.Generator]:
        """One for each slot, at its start."""
        return [np_random(seeding.stream_seed(seed, "environment", slot))[0] for slot in range(self.num_envs)]

    def _restart(self, rows: Rows) -> None:
        """A new episode in these slots, with noise in the order in which gymnasium draws it."""
        if not len(rows):
            return
        size, noise = self._model.nq, self._family.noise
        qpos, qvel = np.tile(self._model.qpos0, (len(rows), 1)), np.zeros((len(rows), self._model.nv))
        for place, row in enumerate(rows):
            generator = self.generators[row]
            qpos[place] += generator.uniform(-noise, noise, size)
            if self._family.normal_velocity:
                qvel[place] += noise * generator.standard_normal(self._model.nv)
            else:
                qvel[place] += generator.uniform(-noise, noise, self._model.nv)
        self.simulations.restart(rows, qpos, qvel)
        self._elapsed[rows] = 0

    def _observe(self) -> Floats:
        return self._family.observe(self.simulations)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        values = array.astype(np.float32) if array.dtype == np.float64 else array
        return torch.from_numpy(values).to(self.device)


@final
class MujocoEnv(gymnasium.Env[Any, Any]):
    """One environment of a MuJoCo family as a `gymnasium.Env`; `reset(options={"task": ...})` chooses the task.

    The same seed gives the first state that it gives in gymnasium's environment of this robot.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - gymnasium's own

    def __init__(self, family: MujocoDynamics, task: Tasks | None = None, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is 'rgb_array' or None, got {render_mode!r}")
        self.observation_space = family.observation_space
        self.action_space = family.action_space
        self.render_mode = render_mode
        self._current = CurrentTask(family, task)
        self._vector = MujocoVectorEnv(family, 1)
        self._renderer: Any = None

    @property
    def task(self) -> Tasks | None:
        """The current task; None before the first reset if the constructor got none."""
        return self._current.task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._current.generator.manual_seed(seed)
        self._vector.set_tasks(self._current.choose(options))
        self._vector.generators = [self.np_random]
        return self._vector.reset()[0][0].numpy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        after = self._vector.advance(torch.as_tensor(np.asarray(action, np.float32))[None])
        info = {"diverged": True} if after.diverged[0] else {}
        ends = bool(after.terminated[0]), bool(after.truncated[0])
        return after.observation[0].astype(np.float32), float(after.reward[0]), *ends, info

    def render(self) -> Any:
        """A picture [240, 320, 3] from the camera that follows the robot."""
        if self.render_mode is None:
            return None
        model, data = self._vector.simulations.snapshot(0)
        if self._renderer is None:
            self._renderer = _renderer(model)
        self._renderer.update_scene(data, "track")
        return self._renderer.render()

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _renderer(model: Any) -> Any:
    try:
        return import_module("mujoco").Renderer(model, 240, 320)
    except Exception as error:  # each way of drawing fails in its own way
        text = "MuJoCo cannot draw; without a display set MUJOCO_GL=egl or MUJOCO_GL=osmesa before Python starts"
        raise RuntimeError(f"{text} ({type(error).__name__}: {error})") from error
