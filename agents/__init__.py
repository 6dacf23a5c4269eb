"""Agents that learn to adapt, and classical learners; each module is imported on first use."""

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
    "psrl": "metarl.agents.mdp_learners:PosteriorSamplingMDP",
    "beb": "metarl.agents.mdp_learners:BonusPlanner",
    "ucrl": "metarl.agents.mdp_learners:OptimisticPlanner",
    "goal-posterior-sampling": "metarl.agents.search_learners:GoalPosteriorSampling",
    "bayes-optimal-search": "metarl.agents.search_learners:BayesOptimalSearch",
    "expert": "metarl.agents.family_expert:family_expert",
}


def suited(distribution: TaskDistribution) -> list[str]:
    """The names of the classical learners that suit `distribution`, and `expert` if it names one, as in `LEARNERS`.

    >>> import metarl
    >>> suited(metarl.make("tabular-mdp"))
    ['random', 'psrl', 'beb', 'ucrl', 'expert']
    """
    return [name for name in LEARNERS if _suits(name, distribution)]


def _suits(name: str, distribution: TaskDistribution) -> bool:
    try:
        import_attribute(LEARNERS[name]).check(distribution)
    except ValueError:
        return False
    return True
