import metarl
from metarl.runs.meta_test import MetaTest


def test_planners_plan_for_the_trials_that_are_measured() -> None:
    """With one pull left nothing is worth exploring; the family's own ten pulls would be."""
    bandits = metarl.make("bernoulli-bandit", arms=2, pulls=10)
    short = MetaTest(bandits.split("test"), num_tasks=4000, num_episodes=4, device="cpu")
    limit = bandits.optimal_return(4)
    assert limit is not None
    totals = short.play(short.baseline("bayes-optimal-bandit"), "planner", progress_bar=False).totals
    assert abs(totals.mean() - limit.total) < 4 * totals.std() / len(totals) ** 0.5


def test_references_are_the_baselines_that_suit() -> None:
    trials = MetaTest(metarl.make("tabular-mdp"), num_tasks=20, num_episodes=1, device="cpu")
    assert [result.policy for result in trials.references()] == ["random", "psrl", "beb", "ucrl", "expert"]
