"""Expert labels: what a privileged expert does in the states that the learner visits (DAgger).

Ross, Gordon and Bagnell 2011, arXiv 1011.0686.
"""

from typing import final

import torch
from torch import Tensor

from metarl import distributed
from metarl.tasks.batch import Tasks
from metarl.tasks.policies import PrivilegedPolicy, Transition
from metarl.trials.rollouts import StochasticPolicy


@final
class ExpertLabels(StochasticPolicy):
    """Acts as the learner does, and records at every step the action of a privileged expert.

    The expert knows the task, the learner does not. The learner that imitates it best takes each action with the
    posterior probability that it is the expert's, given the trial so far. This is posterior sampling (Lee et al. 2023,
    arXiv 2306.14892), from which reinforcement learning starts well.

    Raises ValueError if `expert` is None.
    """

    def __init__(self, learner: StochasticPolicy, expert: PrivilegedPolicy | None, tasks: Tasks) -> None:
        super().__init__(learner.num_tasks, learner.device)
        if expert is None:
            raise ValueError("no expert is known for these tasks")
        expert.set_tasks(tasks)
        self._learner = learner
        self._expert = expert
        self._labels: list[Tensor] = []
        self._has_values = False

    @property
    def log_prob(self) -> Tensor:
        return self._learner.log_prob

    def expert_labels(self, temperature: float) -> Tensor:
        """Labels of the T steps since the last hard reset: `[B, T, A]` probabilities, or `[B, T, ...]` actions.

        With the expert's action values, the probabilities of the A discrete actions are
        softmax(values / (temperature * deviation)). `deviation` is the mean standard deviation of values between
        actions. A high temperature says more about the other actions, and less about which is best.
        """
        expert_labels = torch.stack(self._labels, 1)
        if expert_labels.is_floating_point():
            expert_labels = expert_labels.float()  # an expert computes with the task's parameters, of float64 maybe
        if not self._has_values:
            return expert_labels
        return (expert_labels / (temperature * distributed.mean(expert_labels.std(-1)))).softmax(-1)

    def begin(self, mask: Tensor | None = None) -> None:
        if mask is None:
            self._labels = []
        self._learner.begin(mask)
        self._expert.begin(mask)

    def act(self, observation: Tensor) -> Tensor:
        values = self._expert.values(observation)
        self._has_values = values is not None
        self._labels.append(self._expert.act(observation) if values is None else values)
        return self._learner.act(observation)

    def observe(self, transition: Transition) -> None:
        self._learner.observe(transition)
        self._expert.observe(transition)
