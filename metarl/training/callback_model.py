"""The part of an agent that Stable-Baselines3's callbacks and loggers use."""

import warnings
from abc import ABC, abstractmethod
from typing import Any, final

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.logger import Logger, configure

from metarl.sb3.prediction import predicted
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv
from metarl.tasks.policies import AdaptivePolicy
from metarl.training.logs import STEPS
from metarl.training.progress_bar import StepProgress


class CallbackModel(ABC):
    """What callbacks ask of the model that they watch: its logger, environments, predictions and counts."""

    def __init__(self, distribution: TaskDistribution) -> None:
        self.distribution = distribution
        self.num_timesteps = 0  # environment steps, over all tasks
        self._logger: Logger | None = None
        self._env: TaskVectorEnv | None = None
        self._opens = False  # whether `get_env` may open environments

    @abstractmethod
    def policy(self, num_tasks: int, deterministic: bool | None = None, seed: int = 0) -> AdaptivePolicy:
        """A policy that acts and adapts in `num_tasks` tasks at once, with the parameters learned so far.

        If `deterministic`, it takes the most likely actions, else it draws them; None: the agent's own choice.
        """

    @property
    def logger(self) -> Logger:
        """The Stable-Baselines3 logger of training; without `set_logger` it writes nothing."""
        if self._logger is None:
            self._logger = configure(None, [])
        return self._logger

    def set_logger(self, logger: Logger) -> None:
        self._logger = logger

    @final
    def dump_logs(self) -> None:
        """Write what was logged so far; Stable-Baselines3's LogEveryNTimesteps calls it."""
        self.logger.record(STEPS, self.num_timesteps)
        self.logger.dump(self.num_timesteps)

    @final
    def get_env(self) -> TaskVectorEnv | None:
        """The environments of training, while it lasts."""
        if self._env is None and self._opens:
            self._env = self._open_env()
        return self._env

    def _open_env(self) -> TaskVectorEnv | None:
        """The environments of the first rollout; None (the default) if the agent opens them later."""
        return None

    @final
    def close(self) -> None:
        """Close the environments of training. `learn` does so at its end, and opens others when it is called again."""
        self._opens = False
        env, self._env = self._env, None
        if env is not None:
            env.close()

    @final
    def get_vec_normalize_env(self) -> None:
        """None: agents have no such wrapper. Stable-Baselines3's checkpoint callback calls this method."""
        return

    @final
    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Actions for observations of a `metarl.sb3.TaskVecEnv`, and the state to give back with the next ones.

        Stable-Baselines3's EvalCallback and evaluate_policy call it. The policy adapts within an episode and begins
        anew with the next: `metarl.evaluate` measures whole trials.
        """

        def make(num_tasks: int) -> AdaptivePolicy:
            return self.policy(num_tasks, deterministic)

        return predicted(make, self.distribution, observation, state, episode_start)


def callback_chain(model: CallbackModel, callback: Any, progress_bar: bool) -> BaseCallback:
    """The callbacks of one training as one: a callback, a list of them or a function, and the progress bar."""
    if isinstance(callback, list):
        callback = CallbackList(callback)
    if not isinstance(callback, BaseCallback):
        callback = ConvertCallback(callback)
    chain = CallbackList([callback, StepProgress()]) if progress_bar else callback
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training and eval env are not of the same type")  # they never are
        chain.init_callback(model)  # type: ignore[arg-type]  # callbacks use only what a CallbackModel has too
    return chain
