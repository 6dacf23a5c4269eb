"""What callbacks of Stable-Baselines3 read in `self.locals` at each step of training."""

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
from torch import Tensor

from metarl.sb3.infos import Infos, step_infos
from metarl.tasks.distribution import Step, TaskVectorEnv


@final
class StepLocals(dict[str, Any]):
    """The locals of training, with `rewards`, `dones`, `infos` and `new_obs` of the last step for each environment.

    These are made when a callback reads them, because a device need not wait for what nobody reads. Inside a CUDA graph
    there are no steps, and the names are missing.
    """

    def __init__(self, env: Callable[[], TaskVectorEnv | None], others: Mapping[str, Any]) -> None:
        super().__init__(others)
        self._env = env

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (name in READERS and self._step() is not None)

    def __missing__(self, name: str) -> Any:
        step = self._step()
        if name not in READERS or step is None:
            raise KeyError(f"{name}: training tells {', '.join([*self, *READERS])}, the latter once a step was taken")
        return READERS[name](step)

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def _step(self) -> Step | None:
        env = self._env()
        return None if env is None else env.last_step


def _infos(step: Step) -> Infos:
    _, _, _, truncated, info = step
    return step_infos(truncated, info, _host(info["final_obs"]))


def _host(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.cpu().numpy())


READERS: dict[str, Callable[[Step], Any]] = {
    "new_obs": lambda step: _host(step[0]),
    "rewards": lambda step: _host(step[1]),
    "dones": lambda step: _host(step[2] | step[3]),
    "infos": _infos,
}
