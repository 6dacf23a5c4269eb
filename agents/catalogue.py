"""Agents that learn to adapt, and classical baselines, by the name under which the commands know them."""

AGENTS: dict[str, str] = {
    "rl2": "metarl.agents.in_context.rl2:RL2",
    "maml": "metarl.agents.gradient.maml:MAML",
    "fine-tuning": "metarl.agents.sb3.fine_tuning:FineTuning",
}

BASELINES: dict[str, str] = {
    "random": "metarl.agents.classical.uniform:RandomPolicy",
    "greedy": "metarl.agents.classical.bandits:Greedy",
    "epsilon-greedy": "metarl.agents.classical.bandits:EpsilonGreedy",
    "ucb1": "metarl.agents.classical.bandits:UCB1",
    "thompson-sampling": "metarl.agents.classical.bandits:ThompsonSampling",
    "gittins": "metarl.agents.classical.bandits:Gittins",
    "bayes-optimal-bandit": "metarl.agents.classical.bandits:BayesOptimalBandit",
    "psrl": "metarl.agents.classical.mdps:PosteriorSamplingMDP",
    "beb": "metarl.agents.classical.mdps:BonusPlanner",
    "ucrl": "metarl.agents.classical.mdps:OptimisticPlanner",
    "goal-posterior-sampling": "metarl.agents.classical.goal_search:GoalPosteriorSampling",
    "bayes-optimal-search": "metarl.agents.classical.goal_search:BayesOptimalSearch",
    "never-tries": "metarl.agents.classical.two_doors:NeverTries",
    "bayes-optimal-doors": "metarl.agents.classical.two_doors:BayesOptimalDoors",
    "bus-walker": "metarl.agents.classical.bus_grid:Walker",
    "bus-explorer": "metarl.agents.classical.bus_grid:BusExplorer",
    "known-buses": "metarl.agents.classical.bus_grid:KnownBuses",
    "bayes-optimal-goals": "metarl.agents.classical.ordered_goals:BayesOptimalGoals",
    "without-last-goal": "metarl.agents.classical.ordered_goals:WithoutLastGoal",
    "known-goals": "metarl.agents.classical.ordered_goals:KnownGoals",
    "circle-search": "metarl.agents.classical.mountain_treasure:CircleSearch",
    "climb-look-go": "metarl.agents.classical.mountain_treasure:ClimbLookGo",
    "known-treasure": "metarl.agents.classical.mountain_treasure:KnownTreasure",
    "known-key-and-door": "metarl.agents.classical.key_to_door:KnownKeyAndDoor",
    "expert": "metarl.agents.classical.family_expert:family_expert",
}
