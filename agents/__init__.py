"""Agents that learn to adapt, and classical learners; each module is imported on first use."""

from typing import cast

import torch

from metarl.agent import PrivilegedPolicy
from metarl.registry import import_attribute
from metarl.tasks import TaskDistribution

AGENTS: dict[str, str] = {
    "rl2": "metarl.agents.rl2:RL2",
    "maml": "metarl.agents.maml:MAML",
    "fine-tuning": "metarl.agents.fine_tuning:FineTuning",
}

LEARNERS: dict[str, str] = {
    "random": "metarl.agents.random_learner:RandomLearner",
    "greedy": "metarl.agents.bandit_learners:Greedy",
    "epsilon-greedy": "metarl.agents.bandit_learners:EpsilonGreedy",
    "ucb1": "metarl.agents.bandit_learners:UCB1",
    "thompson-sampling": "metarl.agents.bandit_learners:ThompsonSampling",
    "gittins": "metarl.agents.bandit_learners:Gittins",
    "bayes-optimal-bandit": "metarl.agents.bandit_learners:BayesOptimalBandit",
    "known-best-arm": "metarl.agents.bandit_learners:KnownBestArm",
    "psrl": "metarl.agents.mdp_learners:PosteriorSamplingMDP",
    "beb": "metarl.agents.mdp_learners:BonusPlanner",
    "ucrl": "metarl.agents.mdp_learners:OptimisticPlanner",
    "known-mdp": "metarl.agents.mdp_learners:KnownMDP",
    "goal-posterior-sampling": "metarl.agents.search_learners:GoalPosteriorSampling",
    "bayes-optimal-search": "metarl.agents.search_learners:BayesOptimalSearch",
    "known-goal": "metarl.agents.search_learners:KnownGoal",
    "known-point-goal": "metarl.agents.search_learners:KnownPointGoal",
}

EXPERTS = ("known-best-arm", "known-mdp", "known-goal", "known-point-goal")


def suited(distribution: TaskDistribution) -> list[str]:
    """The names of the classical learners that suit `distribution`, in the order of `LEARNERS`.

    >>> import metarl
    >>> suited(metarl.make("tabular-mdp"))
    ['random', 'psrl', 'beb', 'ucrl', 'known-mdp']
    """
    return [name for name in LEARNERS if _suits(name, distribution)]


def expert(
    distribution: TaskDistribution, num_tasks: int, device: torch.device | str = "cpu"
) -> PrivilegedPolicy | None:
    """The optimal policy of an agent that knows the task, for imitation in meta-training; None where none is known."""
    for name in EXPERTS:
        if _suits(name, distribution):
            return cast(PrivilegedPolicy, import_attribute(LEARNERS[name])(distribution, num_tasks, device=device))
    return None


def _suits(name: str, distribution: TaskDistribution) -> bool:
    try:
        import_attribute(LEARNERS[name]).check(distribution)
    except ValueError:
        return False
    return True
