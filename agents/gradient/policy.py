"""Policies with parameters of their own in every task: fixed during rollouts, or adapting after some episodes."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from metarl import seeding
from metarl.adaptation.inner_loop import Adapted, InnerLoop
from metarl.agents.gradient.inner_objective import InnerBatch, InnerLoss, Rollouts, inner_batch
from metarl.agents.gradient.networks import PolicyNetwork
from metarl.devices import may_look
from metarl.functional.linear_baseline import observation_features
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition
from metarl.trials.context import Context, ContextTracker
from metarl.trials.rollouts import StochasticPolicy


@final
@dataclass(frozen=True)
class InnerProblem:
    """How a policy adapts inside a task: the loss, the number of rollouts and the number of inner steps."""

    distribution: TaskDistribution
    inner: InnerLoop[PolicyNetwork]
    loss: InnerLoss
    rollouts: int  # episodes before each inner step
    steps: int  # inner steps in a trial
    gamma: float
    gae_lambda: float

    def batch(self, steps: Rollouts, num_tasks: int, mean: Callable[[Tensor], Tensor] = torch.mean) -> InnerBatch:
        """The data of an inner step in `num_tasks` tasks (see `inner_objective.inner_batch`)."""
        features = observation_features(steps.observation, self.distribution.observation_space)
        return inner_batch(steps, num_tasks, features, self.gamma, self.gae_lambda, mean)


@final
class RolloutPolicy(StochasticPolicy):
    """Acts in R rollouts of each of N tasks (task-major). Each task has parameters of its own, which stay fixed."""

    def __init__(self, problem: InnerProblem, adapted: Adapted, rollouts: int, seed: int) -> None:
        super().__init__(adapted.num_tasks * rollouts, adapted.steps.device)
        self._adapted = adapted
        self._context = EpisodeContext(problem, self.num_tasks)
        self._head = problem.inner.module.head
        self._generator = seeding.generator(seed, "actions", device=self.device)
        self._log_prob = torch.zeros(self.num_tasks, device=self.device)

    @property
    def log_prob(self) -> Tensor:
        return self._log_prob

    def begin(self, mask: Tensor | None = None) -> None:
        self._context.begin(mask)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        parameters = self._context.parameters(self._adapted, observation)
        action = self._head.sample(parameters, self._generator)
        self._log_prob = self._head.log_prob(parameters, action)
        return action

    def observe(self, transition: Transition) -> None:
        self._context.observe(transition)


@final
class GradientPolicy(StochasticPolicy):
    """Adapts by gradient steps: one after every `rollouts` episodes in a task, until it has taken `steps` of them.

    Tasks are independent: one may adapt while another is in the middle of an episode. A deterministic policy draws its
    actions while it still has steps to take, because it must explore. After the last step it takes the most likely.
    """

    def __init__(self, problem: InnerProblem, num_tasks: int, deterministic: bool, seed: int) -> None:
        super().__init__(num_tasks, next(problem.inner.module.parameters()).device)
        self._problem = problem
        self._deterministic = deterministic
        self._context = EpisodeContext(problem, num_tasks)
        self._head = problem.inner.module.head
        self._generator = seeding.generator(seed, "actions", device=self.device)
        self._log_prob = torch.zeros(num_tasks, device=self.device)
        self.begin()

    @property
    def log_prob(self) -> Tensor:
        return self._log_prob

    @property
    def adapted(self) -> Adapted:
        """The current parameters of every task."""
        return self._adapted

    def begin(self, mask: Tensor | None = None) -> None:
        with torch.no_grad():
            if mask is None:
                self._adapted = self._problem.inner.begin(self.num_tasks)
                self._episodes = Episodes(self._problem, self.num_tasks, self.device)
            else:
                index = mask.to(self.device).nonzero().squeeze(-1)
                if len(index):
                    self._adapted = self._adapted.put(index, self._problem.inner.begin(self.num_tasks).take(index))
                    self._episodes.forget(index)
        self._context.begin(mask)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        parameters = self._context.parameters(self._adapted, observation)
        action = self._head.sample(parameters, self._generator)
        if self._deterministic:
            learned = self._adapted.steps >= self._problem.steps
            mode = self._head.mode(parameters)
            action = torch.where(learned.view(-1, *[1] * (mode.dim() - 1)), mode, action)
        self._log_prob = self._head.log_prob(parameters, action)
        return action

    def observe(self, transition: Transition) -> None:
        self._context.observe(transition)
        self._episodes.add(transition, self._log_prob, self._adapted.steps < self._problem.steps)
        if self._episodes.may_be_complete() and len(complete := self._episodes.complete()):
            self._adapt(complete)

    @torch.no_grad()
    def _adapt(self, index: Tensor) -> None:
        batch = self._problem.batch(self._episodes.take(index), len(index))
        inner = self._problem.inner
        self._adapted = self._adapted.put(index, inner.step(self._problem.loss, self._adapted.take(index), batch))


@final
class EpisodeContext:
    """The network's input in B slots of an environment: the current step, or the episode so far."""

    def __init__(self, problem: InnerProblem, num_slots: int) -> None:
        self._inner = problem.inner
        network = problem.inner.module
        device = next(network.parameters()).device
        head = network.head
        no_action = head.mode(head(torch.zeros(num_slots, head.num_outputs, device=device))).detach()
        self._live = ContextTracker(num_slots, no_action)
        self._length = problem.distribution.horizon if network.reads_past else 1
        self._time = torch.zeros(num_slots, dtype=torch.int64, device=device)
        self._latest, self._steps = 0, 0  # at least the largest of these times, known on the host; steps observed
        self._past: Context | None = None  # [B, length, ...]

    def begin(self, mask: Tensor | None) -> None:
        if mask is None:
            self._latest = 0
        mask = torch.ones_like(self._time, dtype=torch.bool) if mask is None else mask.to(self._time.device)
        self._live.begin(mask)
        self._time = self._time.masked_fill(mask, 0)

    def observe(self, transition: Transition) -> None:
        self._live.observe(transition)
        self._time = (self._time + 1) % self._length
        self.begin(transition.done)  # each episode is a rollout of its own, as in learning
        self._latest, self._steps = min(self._latest + 1, self._length - 1), self._steps + 1
        if self._latest > 0 and may_look(self._time.device, self._steps):
            self._latest = int(self._time.max())

    def parameters(self, adapted: Adapted, observation: Tensor) -> Tensor:
        """Parameters `[B, P]` of the action head; slots are task-major."""
        step = self._live.at(observation)
        if self._past is None:
            rows = (x[:, None].expand(-1, self._length, *x.shape[1:]).clone() for x in _values(step))
            self._past = Context(*rows)
        slots = torch.arange(len(self._time), device=self._time.device)
        for row, x in zip(_values(self._past), _values(step), strict=True):
            row[slots, self._time] = x
        # entries after a slot's own time are old; causal attention does not read them
        shown = self._latest + 1
        so_far = tuple(x[:, :shown].reshape(adapted.num_tasks, -1, shown, *x.shape[2:]) for x in _values(self._past))
        parameters: Tensor = self._inner.call(_action_parameters, adapted, so_far)
        return parameters.flatten(0, 1)[slots, self._time]


@final
class Episodes:
    """The episodes since the last inner step: R rows for each of N tasks, one episode a row, padded to the horizon."""

    def __init__(self, problem: InnerProblem, num_tasks: int, device: torch.device) -> None:
        self._shape = (num_tasks, problem.rollouts, problem.distribution.horizon)
        self._episode = torch.zeros(num_tasks, dtype=torch.int64, device=device)
        self._time = torch.zeros_like(self._episode)
        self._valid = torch.zeros(self._shape, dtype=torch.bool, device=device)
        self._steps_left = problem.rollouts  # a lower bound, until a task is complete
        self._rows: list[Tensor] = []  # observation, action, reward, done, log-probability

    def add(self, transition: Transition, log_prob: Tensor, learning: Tensor) -> None:
        """Record one step of the tasks where `learning` [N] is true."""
        done = transition.done
        values = (transition.observation, transition.action, transition.reward, done, log_prob)
        if not self._rows:
            self._rows = [x.new_zeros(*self._shape, *x.shape[1:]) for x in values]
        place = (torch.arange(len(done), device=done.device), self._episode, self._time)
        for row, x in zip((*self._rows, self._valid), (*values, torch.ones_like(done)), strict=True):
            row[place] = torch.where(learning.view(-1, *[1] * (x.dim() - 1)), x, row[place])
        full = self._time == self._shape[2] - 1  # a row ends there even if nobody said that the episode did
        ended = (done | full) & learning
        self._time = torch.where(ended, 0, self._time + learning.long())
        self._episode += ended.long()
        self._steps_left -= 1

    def may_be_complete(self) -> bool:
        """Whether a task may have experienced all its episodes; asks the device only if that is possible."""
        if self._steps_left <= 0:
            self._steps_left = self._shape[1] - int(self._episode.max())  # an episode takes a step or more
        return self._steps_left <= 0

    def complete(self) -> Tensor:
        """Indices [n] of the tasks that have experienced all their episodes."""
        return (self._episode == self._shape[1]).nonzero().squeeze(-1)

    def take(self, index: Tensor) -> Rollouts:
        """The episodes of the tasks with indices `index` [n] as `[n * R, T, ...]`; then forgets them."""
        steps = Rollouts(*(row[index].flatten(0, 1) for row in (*self._rows, self._valid)))
        self.forget(index)
        return steps

    def forget(self, index: Tensor) -> None:
        self._valid[index] = False
        self._episode[index] = 0
        self._time[index] = 0


def _action_parameters(network: PolicyNetwork, rows: tuple[Tensor, ...]) -> Tensor:
    """Parameters `[R, T, P]` of the action head in one task, from the fields of a context."""
    return network(Context(*rows))  # type: ignore[no-any-return]


def _values(context: Context) -> list[Tensor]:
    return [getattr(context, f.name) for f in fields(context)]
