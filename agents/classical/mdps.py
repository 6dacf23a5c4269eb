"""Classical baselines for random tabular MDPs. They plan at the start of each episode, from a conjugate posterior.

The prior is the published one, in every split: mean rewards N(1, 1), reward noise N(0, 1), rows of transitions
Dirichlet(1, ..., 1).
"""

from abc import abstractmethod
from typing import NamedTuple, final

import torch
from gymnasium import spaces
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.functional import sampling as draws
from metarl.optima import planning
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition


def check_tabular(distribution: TaskDistribution) -> None:
    """ValueError unless tasks are `rewards` [S, A] and `transitions` [S, A, S], with Discrete states and actions."""
    states, actions = (
        int(space.n) if isinstance(space, spaces.Discrete) else 0
        for space in (distribution.observation_space, distribution.action_space)
    )
    shapes = {name: box.shape for name, box in distribution.task_space.spaces.items()}
    if not states or shapes != {"rewards": (states, actions), "transitions": (states, actions, states)}:
        raise ValueError(
            "baselines for tabular MDPs need Discrete observations and actions and the parameters `rewards` [S, A] "
            f"and `transitions` [S, A, S]; {distribution.name} has the tasks {distribution.task_space}"
        )


class Belief(NamedTuple):
    """The posterior over N tasks, by its sufficient statistics."""

    moves: Tensor  # [N, S, A, S] how often each action led from state to state
    reward_sums: Tensor  # [N, S, A]

    @property
    def visits(self) -> Tensor:
        """How often each action was taken, `[N, S, A]`."""
        return self.moves.sum(-1)

    @property
    def rewards(self) -> Tensor:
        """Posterior means of the mean rewards, `[N, S, A]`; their variance is 1 / (1 + visits)."""
        return (1 + self.reward_sums) / (1 + self.visits)

    @property
    def transitions(self) -> Tensor:
        """Posterior means of the transition probabilities, `[N, S, A, S]`."""
        return (1 + self.moves) / (self.moves.shape[-1] + self.visits)[..., None]


class EpisodicPlanner(ClassicalBaseline):
    """Counts transitions and rewards, and follows a plan that a subclass makes at the start of each episode."""

    check = staticmethod(check_tabular)
    stream = "mdp-learner"

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        states, actions = distribution.task_space["rewards"].shape or (0, 0)
        self.horizon = distribution.horizon
        self._belief = Belief(
            torch.zeros(num_tasks, states, actions, states, device=self.device),
            torch.zeros(num_tasks, states, actions, device=self.device),
        )
        self._slot = torch.arange(num_tasks, device=self.device)
        self._plan = torch.zeros(num_tasks, self.horizon, states, dtype=torch.int64, device=self.device)
        self._elapsed = torch.zeros(num_tasks, dtype=torch.int64, device=self.device)
        self._unplanned = torch.ones(num_tasks, dtype=torch.bool, device=self.device)

    @abstractmethod
    def plan(self, belief: Belief) -> Tensor:
        """Actions `[num_tasks, horizon, S]` for the next episode."""

    @final
    def begin(self, mask: Tensor | None = None) -> None:
        forgotten = slice(None) if mask is None else mask
        for statistic in self._belief:
            statistic[forgotten] = 0
        self._elapsed[forgotten] = 0
        self._unplanned[forgotten] = True

    @final
    def act(self, observation: Tensor) -> Tensor:
        if bool(self._unplanned.any()):
            self._plan = torch.where(self._unplanned[:, None, None], self.plan(self._belief), self._plan)
            self._unplanned.fill_(False)
        return self._plan[self._slot, self._elapsed, observation]

    @final
    def observe(self, transition: Transition) -> None:
        state, action = transition.observation, transition.action
        self._belief.moves[self._slot, state, action, transition.next_observation] += 1
        self._belief.reward_sums[self._slot, state, action] += transition.reward
        self._elapsed = planning.next_step(self._elapsed, transition.done, self.horizon)
        self._unplanned |= transition.done


@final
class PosteriorSamplingMDP(EpisodicPlanner):
    """PSRL: the optimal policy of an MDP drawn from the posterior (Strens 2000; Osband et al. 2013).

    >>> import metarl
    >>> PosteriorSamplingMDP(metarl.make("tabular-mdp"), num_tasks=3).act(torch.zeros(3, dtype=torch.int64)).shape
    torch.Size([3])
    """

    def plan(self, belief: Belief) -> Tensor:
        noise = torch.randn(belief.visits.shape, generator=self.generator, device=self.device)
        rewards = belief.rewards + noise / (1 + belief.visits).sqrt()
        transitions = draws.dirichlet(1 + belief.moves, self.generator)
        return planning.value_iteration(rewards, transitions, self.horizon)[1]


@final
class BonusPlanner(EpisodicPlanner):
    """BEB: the optimal policy of the posterior mean MDP with bonus / (1 + visits) added to rewards.

    Kolter and Ng 2009. The default bonus does well over 10 to 25 episodes; longer trials need more.

    >>> import metarl
    >>> BonusPlanner(metarl.make("tabular-mdp"), num_tasks=3, bonus=1.0).act(torch.zeros(3, dtype=torch.int64)).shape
    torch.Size([3])
    """

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, *, bonus: float = 0.5, **placement: Unpack[Placement]
    ) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self._bonus = bonus

    def plan(self, belief: Belief) -> Tensor:
        rewards = belief.rewards + self._bonus / (1 + belief.visits)
        return planning.value_iteration(rewards, belief.transitions, self.horizon)[1]


@final
class OptimisticPlanner(EpisodicPlanner):
    """UCRL2-like: the optimal policy of the most favourable MDP within confidence bounds (Jaksch et al. 2010).

    Bounds are width / sqrt(1 + visits) around the posterior means: `reward_width` of the mean reward,
    `transition_width` of the sum of absolute differences of probabilities. The defaults do well over 10 to 25 episodes.

    >>> import metarl
    >>> OptimisticPlanner(metarl.make("tabular-mdp"), num_tasks=3).act(torch.zeros(3, dtype=torch.int64)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        num_tasks: int,
        *,
        reward_width: float = 0.5,
        transition_width: float = 0.5,
        **placement: Unpack[Placement],
    ) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self._widths = reward_width, transition_width

    def plan(self, belief: Belief) -> Tensor:
        uncertainty = 1 / (1 + belief.visits).sqrt()
        rewards = belief.rewards + self._widths[0] * uncertainty
        radius = self._widths[1] * uncertainty
        return planning.optimistic_value_iteration(rewards, belief.transitions, radius, self.horizon)[1]
