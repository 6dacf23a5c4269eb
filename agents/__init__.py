"""Agents and classical baselines, each imported on first use."""

from typing import TYPE_CHECKING

from metarl.imports import hand_on

if TYPE_CHECKING:
    from metarl.agents.classical.bandits import (
        UCB1,
        BayesOptimalBandit,
        EpsilonGreedy,
        Gittins,
        Greedy,
        ThompsonSampling,
    )
    from metarl.agents.classical.goal_search import BayesOptimalSearch, GoalPosteriorSampling
    from metarl.agents.classical.mdps import BonusPlanner, OptimisticPlanner, PosteriorSamplingMDP
    from metarl.agents.classical.uniform import RandomPolicy
    from metarl.agents.gradient.maml import MAML
    from metarl.agents.gradient.options import RECIPES, MAMLOptions
    from metarl.agents.in_context.options import RL2Options
    from metarl.agents.in_context.rl2 import RL2
    from metarl.agents.sb3.fine_tuning import FineTuning, FineTuningOptions
    from metarl.agents.sb3.model_policy import ModelPolicy, TaskModelPolicy, TrialModelPolicy

__all__ = [
    "MAML",
    "RECIPES",
    "RL2",
    "UCB1",
    "BayesOptimalBandit",
    "BayesOptimalSearch",
    "BonusPlanner",
    "EpsilonGreedy",
    "FineTuning",
    "FineTuningOptions",
    "Gittins",
    "GoalPosteriorSampling",
    "Greedy",
    "MAMLOptions",
    "ModelPolicy",
    "OptimisticPlanner",
    "PosteriorSamplingMDP",
    "RL2Options",
    "RandomPolicy",
    "TaskModelPolicy",
    "ThompsonSampling",
    "TrialModelPolicy",
]

__getattr__, __dir__ = hand_on(
    __name__,
    {
        "BayesOptimalBandit": "metarl.agents.classical.bandits",
        "BayesOptimalSearch": "metarl.agents.classical.goal_search",
        "BonusPlanner": "metarl.agents.classical.mdps",
        "EpsilonGreedy": "metarl.agents.classical.bandits",
        "FineTuning": "metarl.agents.sb3.fine_tuning",
        "FineTuningOptions": "metarl.agents.sb3.fine_tuning",
        "Gittins": "metarl.agents.classical.bandits",
        "GoalPosteriorSampling": "metarl.agents.classical.goal_search",
        "Greedy": "metarl.agents.classical.bandits",
        "MAML": "metarl.agents.gradient.maml",
        "MAMLOptions": "metarl.agents.gradient.options",
        "ModelPolicy": "metarl.agents.sb3.model_policy",
        "OptimisticPlanner": "metarl.agents.classical.mdps",
        "PosteriorSamplingMDP": "metarl.agents.classical.mdps",
        "RECIPES": "metarl.agents.gradient.options",
        "RL2": "metarl.agents.in_context.rl2",
        "RL2Options": "metarl.agents.in_context.options",
        "RandomPolicy": "metarl.agents.classical.uniform",
        "TaskModelPolicy": "metarl.agents.sb3.model_policy",
        "TrialModelPolicy": "metarl.agents.sb3.model_policy",
        "ThompsonSampling": "metarl.agents.classical.bandits",
        "UCB1": "metarl.agents.classical.bandits",
    },
)
