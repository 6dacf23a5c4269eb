"""In-context adaptation: inside a trial only the memory of the policy changes."""

from typing import final

import torch
from torch import Tensor

from metarl import seeding
from metarl.nn.actor import Actor
from metarl.tasks.policies import Transition
from metarl.trials.context import ContextTracker
from metarl.trials.rollouts import StochasticPolicy


@final
class InContextPolicy(StochasticPolicy):
    """Acts in N tasks at once. It adapts by what its memory holds; its parameters stay fixed."""

    def __init__(self, actor: Actor, num_tasks: int, deterministic: bool, seed: int) -> None:
        super().__init__(num_tasks, actor.output.weight.device)
        self._actor = actor
        self._deterministic = deterministic
        self.generator = torch.Generator(self.device)  # of the actions that are drawn
        self.restart(seed)
        self._log_prob = torch.zeros(num_tasks, device=self.device)
        self.begin()

    @property
    def log_prob(self) -> Tensor:
        return self._log_prob

    def restart(self, seed: int) -> None:
        """Restart the random stream of actions, as in a new policy with this seed."""
        self.generator.manual_seed(seeding.stream_seed(seed, "actions"))

    def begin(self, mask: Tensor | None = None) -> None:
        if mask is None or bool(mask.all()):
            head = self._actor.head
            no_action = head.mode(head(torch.zeros(self.num_tasks, head.num_outputs, device=self.device)))
            self._state = self._actor.initial_state(self.num_tasks)
            self._live = ContextTracker(self.num_tasks, no_action.detach())
        else:
            self._state = self._actor.reset(self._state, mask.to(self.device))
            self._live.begin(mask)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        parameters, self._state = self._actor.step(self._live.at(observation), self._state)
        head = self._actor.head
        action = head.mode(parameters) if self._deterministic else head.sample(parameters, self.generator)
        self._log_prob = head.log_prob(parameters, action)
        return action

    def observe(self, transition: Transition) -> None:
        self._live.observe(transition)
