"""A whole rollout of an in-context agent as one CUDA graph."""

from typing import final

from torch import Tensor

from metarl.agents.in_context.policy import InContextPolicy
from metarl.agents.outer_loop.expert_labels import ExpertLabels
from metarl.cuda_graphs import Captured
from metarl.engines.native import NativeVectorEnv
from metarl.tasks.batch import Tasks
from metarl.tasks.policies import PrivilegedPolicy
from metarl.trials.rollouts import StochasticPolicy, check_finite, play_on
from metarl.trials.trajectories import Trajectories


@final
class CapturedRollout:
    """`collect` in native environments as one CUDA graph, which is replayed for every batch of trials.

    It gives the same numbers as `collect`. All trials have `num_steps` steps.
    The graph holds every step of a trial, so each step has its own length of the key-value cache, as without a graph.
    Nothing is padded or masked, no state is copied, and the host does nothing between the first and the last step.
    """

    def __init__(
        self,
        learner: InContextPolicy,
        expert: PrivilegedPolicy | None,
        temperature: float,
        env: NativeVectorEnv,
        num_steps: int,
    ) -> None:
        """`expert`, if any, labels each step; `temperature` as in `ExpertLabels.expert_labels`."""
        self._learner = learner
        self._expert = expert
        self._temperature = temperature
        self._env = env
        self._num_steps = num_steps
        self._captured = Captured(self._play, [learner.generator, env.generator])

    def __call__(self, tasks: Tasks, action_seed: int, environment_seed: int) -> tuple[Trajectories, Tensor | None]:
        """One trial `[T]` in each of the B tasks, and the expert labels `[B, T, ...]`; None without an expert.

        Raises ValueError if an observation or a reward is not finite.
        """
        self._learner.restart(action_seed)
        self._env.generator.manual_seed(environment_seed)
        columns, expert_labels = self._captured(tasks)
        trajectories = Trajectories(tasks, *columns)
        check_finite(trajectories)
        return trajectories, expert_labels

    def _play(self, tasks: Tasks) -> tuple[list[Tensor], Tensor | None]:
        self._env.set_tasks(tasks)
        policy: StochasticPolicy = self._learner
        if self._expert is not None:
            policy = ExpertLabels(policy, self._expert, tasks)
        columns = play_on(policy, self._env, self._env.reset()[0], self._num_steps)
        return columns, policy.expert_labels(self._temperature) if isinstance(policy, ExpertLabels) else None
