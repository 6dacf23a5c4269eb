"""Classical baselines for Bernoulli bandits. Their prior is uniform on [0, 1] for each arm, in every split."""

from abc import abstractmethod
from collections.abc import Callable
from typing import final

import torch
from gymnasium import spaces
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.functional import sampling as draws
from metarl.optima import bandits as bandit_theory
from metarl.optima import gittins as bandit_index
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition

# from the numbers of the arms [N, arms] (bandit_theory.arm_number) and the pulls left [N], at least 1, the arm [N]
Plan = Callable[[Tensor, Tensor], Tensor]


def check_bandit(distribution: TaskDistribution) -> None:
    """ValueError unless tasks are `means` in [0, 1], one for each Discrete action, and episodes are single pulls."""
    means, actions = distribution.task_space.spaces.get("means"), distribution.action_space
    arms = int(actions.n) if isinstance(actions, spaces.Discrete) else 0
    fits = isinstance(means, spaces.Box) and means.shape == (arms,) and means.low.min() >= 0 and means.high.max() <= 1
    if not fits or distribution.horizon != 1:
        raise ValueError(
            "baselines for bandits need a task parameter `means` in [0, 1] with an entry for each Discrete action "
            f"and episodes of one step; {distribution.name} has the tasks {distribution.task_space}"
        )


class BanditBaseline(ClassicalBaseline):
    """Counts the successes and failures of each arm, `[num_tasks, arms]`. A subclass chooses the arm."""

    stream = "bandit-learner"

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        shape = (num_tasks, *(distribution.task_space["means"].shape or ()))
        self.successes = torch.zeros(shape, dtype=torch.int64, device=self.device)
        self.failures = torch.zeros_like(self.successes)

    @abstractmethod
    def choose(self) -> Tensor:
        """The arm `[num_tasks]` to pull."""

    @property
    @final
    def posterior_means(self) -> Tensor:
        """Posterior mean `[num_tasks, arms]` of the success probability of each arm."""
        return (self.successes + 1) / (self.successes + self.failures + 2)

    @final
    def begin(self, mask: Tensor | None = None) -> None:
        forgotten = slice(None) if mask is None else mask
        self.successes[forgotten] = 0
        self.failures[forgotten] = 0

    @final
    def act(self, observation: Tensor) -> Tensor:
        return self.choose()

    @final
    def observe(self, transition: Transition) -> None:
        arm, success = transition.action[:, None], (transition.reward[:, None] > 0.5).long()
        self.successes.scatter_add_(1, arm, success)
        self.failures.scatter_add_(1, arm, 1 - success)


@final
class Greedy(BanditBaseline):
    """The arm with the largest posterior mean.

    >>> import metarl
    >>> Greedy(metarl.make("bernoulli-bandit", arms=3), num_tasks=4).choose().shape
    torch.Size([4])
    """

    check = staticmethod(check_bandit)

    def choose(self) -> Tensor:
        return self.posterior_means.argmax(1)


@final
class EpsilonGreedy(BanditBaseline):
    """The arm with the largest posterior mean, or with probability `epsilon` a random arm.

    >>> import metarl
    >>> EpsilonGreedy(metarl.make("bernoulli-bandit", arms=3), num_tasks=4, epsilon=0.2).choose().shape
    torch.Size([4])

    Raises ValueError if `epsilon` is not in [0, 1].
    """

    check = staticmethod(check_bandit)

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, *, epsilon: float = 0.1, **placement: Unpack[Placement]
    ) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon must lie in [0, 1], got {epsilon}")
        super().__init__(distribution, num_tasks, **placement)
        self._epsilon = epsilon

    def choose(self) -> Tensor:
        explore, anything = torch.rand(2, self.num_tasks, generator=self.generator, device=self.device)
        arm = (anything * self.successes.shape[1]).long()
        return torch.where(explore < self._epsilon, arm, self.posterior_means.argmax(1))


@final
class UCB1(BanditBaseline):
    """The arm with the largest upper confidence bound, mean + scale * sqrt(2 ln t / pulls) (Auer et al. 2002).

    As in Duan et al. (2016) the statistics of an arm start with one success and one failure. A scale of 1 is the
    published bound. The default was best over 10 to 100 pulls of 5 arms.

    >>> import metarl
    >>> UCB1(metarl.make("bernoulli-bandit", arms=3), num_tasks=4, scale=1.0).choose().shape
    torch.Size([4])

    Raises ValueError if `scale` is negative.
    """

    check = staticmethod(check_bandit)

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, *, scale: float = 0.2, **placement: Unpack[Placement]
    ) -> None:
        if not scale >= 0:
            raise ValueError(f"scale must not be negative, got {scale}")
        super().__init__(distribution, num_tasks, **placement)
        self._scale = scale

    def choose(self) -> Tensor:
        pulls = self.successes + self.failures
        width = (2 * (pulls.sum(1, keepdim=True) + 1).log() / (pulls + 2)).sqrt()
        return (self.posterior_means + self._scale * width).argmax(1)


@final
class ThompsonSampling(BanditBaseline):
    """The best arm in a bandit that is drawn from the posterior (Thompson 1933).

    >>> import metarl
    >>> ThompsonSampling(metarl.make("bernoulli-bandit", arms=3), num_tasks=4, seed=1).choose().shape
    torch.Size([4])
    """

    check = staticmethod(check_bandit)

    def choose(self) -> Tensor:
        return draws.beta(self.successes + 1.0, self.failures + 1.0, self.generator).argmax(1)


class BanditPlanner(BanditBaseline):
    """Follows a plan for `num_episodes` pulls (default: a trial), then is greedy. A subclass computes the plan."""

    def __init__(
        self,
        distribution: TaskDistribution,
        num_tasks: int,
        *,
        num_episodes: int | None = None,
        **placement: Unpack[Placement],
    ) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self._pulls = distribution.num_episodes if num_episodes is None else num_episodes
        self._plan = self.solve(self._pulls)

    @abstractmethod
    def solve(self, pulls: int) -> Plan:
        """The plan for a trial of `pulls` pulls."""

    @final
    def choose(self) -> Tensor:
        remaining = self._pulls - (self.successes + self.failures).sum(1)
        going = remaining > 0
        numbers = bandit_theory.arm_number(self.successes, self.failures) * going[:, None]
        return torch.where(going, self._plan(numbers, remaining.clamp(min=1)), self.posterior_means.argmax(1))


@final
class Gittins(BanditPlanner):
    """The arm with the largest finite-horizon Gittins index. Its return is within .04 % of the optimum.

    >>> import metarl
    >>> Gittins(metarl.make("bernoulli-bandit", arms=3, pulls=5), num_tasks=4).choose().shape
    torch.Size([4])
    """

    check = staticmethod(check_bandit)

    def solve(self, pulls: int) -> Plan:
        index = bandit_index.index_table(pulls).to(self.device)
        return lambda numbers, remaining: index(numbers, remaining).argmax(1)


@final
class BayesOptimalBandit(BanditPlanner):
    """The exact Bayes-optimal policy by dynamic programming, for bandits with few states.

    >>> import metarl
    >>> BayesOptimalBandit(metarl.make("bernoulli-bandit", arms=2, pulls=5), num_tasks=4).choose().shape
    torch.Size([4])
    """

    @staticmethod
    def check(distribution: TaskDistribution) -> None:
        """Raise ValueError unless it is a bandit with few enough states for an exact solution."""
        check_bandit(distribution)
        arms = int(distribution.task_space["means"].shape[0])  # type: ignore[index]
        if not bandit_theory.solvable(arms, distribution.num_episodes):
            raise ValueError(
                f"{arms} arms and {distribution.num_episodes} pulls have too many states to be solved exactly"
            )

    def solve(self, pulls: int) -> Plan:
        solution = bandit_theory.solve(self.successes.shape[1], pulls).to(self.device)
        return lambda numbers, remaining: solution.choose(numbers)
