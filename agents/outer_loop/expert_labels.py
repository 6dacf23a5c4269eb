"""Imitating an expert that knows the task, on the trials that the learner itself lives through."""

from typing import final

import torch
from torch import Tensor

from metarl import distributed
from metarl.tasks.batch import Tasks
from metarl.tasks.policies import PrivilegedPolicy, Transition
from metarl.trials.rollouts import StochasticPolicy


@final
class ExpertLabels(StochasticPolicy):
    """Acts as the learner does, and notes at every step what an expert that knows the task would have done.

    A learner that cannot see the task and imitates one that can ends at the posterior: it takes an action as often as
    the expert does, given what it has seen. That is posterior sampling, a strategy from which reinforcement starts well
    (Lee et al. 2023, arXiv 2306.14892).
    """

    def __init__(self, learner: StochasticPolicy, expert: PrivilegedPolicy | None, tasks: Tasks) -> None:
        super().__init__(learner.num_tasks, learner.device)
        if expert is None:
            raise ValueError("no expert is known for these tasks")
        expert.set_tasks(tasks)
        self._learner = learner
        self._expert = expert
        self._advice: list[Tensor] = []
        self._has_values = False

    @property
    def log_prob(self) -> Tensor:
        return self._learner.log_prob

    def expert_labels(self, temperature: float) -> Tensor:
        """What the expert advised at each step since the last hard reset: `[B, T, A]` or, if continuous, `[B, T, ...]`.

        Of discrete actions it takes each with the probability softmax(values / temperature), `temperature` in units of
        the values' deviation between actions: the softer, the more a step teaches, and the less it says of the best.
        """
        expert_labels = torch.stack(self._advice, 1)
        if not self._has_values:
            return expert_labels
        return (expert_labels / (temperature * distributed.mean(expert_labels.std(-1)))).softmax(-1)

    def begin(self, mask: Tensor | None = None) -> None:
        if mask is None:
            self._advice = []
        self._learner.begin(mask)
        self._expert.begin(mask)

    def act(self, observation: Tensor) -> Tensor:
        values = self._expert.values(observation)
        self._has_values = values is not None
        self._advice.append(self._expert.act(observation) if values is None else values)
        return self._learner.act(observation)

    def observe(self, transition: Transition) -> None:
        self._learner.observe(transition)
        self._expert.observe(transition)
