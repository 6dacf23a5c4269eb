"""Free episodes: they are played and shown, and count in no return of a trial."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import metarl
from metarl.agents.classical.two_doors import BayesOptimalDoors, NeverTries
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.changing_tasks import ChangingTasks
from metarl.envs.two_doors import TwoDoors
from metarl.evaluation.evaluator import evaluate
from metarl.evaluation.results import Evaluation, adaptation_table
from metarl.reports.adaptation_plots import adaptation_figure
from metarl.reports.comparison import compare
from metarl.reports.page import write_report
from metarl.reports.trial_plots import trial_figure
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.testing import check_distribution
from metarl.trials.recording import record_trial

FREE = TwoDoors(num_episodes=3, free_episodes=1, max_episode_steps=2)


def played(policy: type[Any] = BayesOptimalDoors, family: TwoDoors = FREE) -> Evaluation:
    return evaluate(policy(family, 20), family.split("test"), 20)


def test_they_are_kept_and_not_summed() -> None:
    result = played()
    assert result.returns.shape == (20, 3)
    assert set(result.returns[:, 0].tolist()) == {30.0, -18.0}
    assert result.totals.tolist() == [60.0] * 20
    assert result.gains.tolist() == [0.0] * 20
    assert result.regret == 0.0
    assert float(result.total().value) == 60.0
    np.testing.assert_allclose(result.curve().value, result.returns.mean(0))


def test_files_keep_them_and_files_without_them_have_none() -> None:
    result = played()
    copy = Evaluation.from_json(result.to_json())
    assert copy.free_episodes == 1
    assert copy.totals.tolist() == result.totals.tolist()
    older = result.to_json().replace('"free_episodes": 1, ', "").replace(', "free_episodes": 1', "")
    assert Evaluation.from_json(older).totals.tolist() == result.returns.sum(1).tolist()


def test_tables_and_pages_mark_them(tmp_path: Any) -> None:
    results = [played(), played(NeverTries)]
    table = adaptation_table(results)
    assert "3 episodes, the first 1 free" in table
    assert "ep 1 (free) ep 2 ep 3 trial" in " ".join(table.split())
    assert "NeverTries" in table
    assert table.splitlines()[-2].split()[-2:] == ["20.00", "40.00"]
    comparison = compare(results)
    assert comparison.cells()[0][2] == "first ep (free)"
    assert float(comparison.rows["NeverTries"].total.value) == 20.0
    for figure in (adaptation_figure(results), comparison.figure()):
        assert "free" in [text.get_text() for axes in figure.axes for text in axes.texts]
    trial = record_trial(BayesOptimalDoors(FREE, 1), FREE, FREE.tasks(door=[2]))
    assert "-18 (free), 30, 30" in trial_figure(trial).axes[0].get_title(loc="left")
    page = write_report(tmp_path / "page.html", title="doors", evaluations=results, trial=trial)
    assert "Shaded: free episodes" in page.read_text()


def test_trials_that_count_other_episodes_are_not_compared() -> None:
    all_count = TwoDoors(num_episodes=3, max_episode_steps=2)
    with pytest.raises(ValueError, match="cannot be compared"):
        compare([played(), played(NeverTries, all_count)])


def test_something_must_count() -> None:
    for free in (-1, 2):
        with pytest.raises(ValueError, match="need 0 <= free_episodes < num_episodes"):
            TwoDoors(free_episodes=free)
    with pytest.raises(ValueError, match="must be above the 1 free episodes of two-doors-v1, got 1"):
        evaluate(NeverTries(FREE, 2), FREE, 2, num_episodes=1)
    with pytest.raises(ValueError, match="must be above the 1 free episodes"):
        RL2(FREE, RL2Options(memory="gru", num_episodes=1), device="cpu")


def test_rl2_counts_no_reward_there() -> None:
    """Every episode pays 9 to 11, so the log tells how many are counted; the first trials hold one that is."""
    for free in (0, 1):
        family = TwoDoors(right=11.0, wrong=9.0, num_episodes=2, free_episodes=free, max_episode_steps=20)
        options = RL2Options(memory="gru", width=8, num_layers=1, batch_steps=400)
        logged = RL2(family, options, device="cpu").train_step(0.0, lambda env: None)
        assert logged["rollout/trial_rew_mean"] == pytest.approx(10, abs=1)
        assert logged["rollout/trial_len"] == 20 * (free + 1)


class Pushes(AdaptivePolicy):
    """Accelerates to the right."""

    def begin(self, mask: Tensor | None = None) -> None:
        pass

    def act(self, observation: Tensor) -> Tensor:
        return torch.ones(self.num_tasks, dtype=torch.int64)

    def observe(self, transition: Transition) -> None:
        pass


def test_a_family_of_ones_own_may_have_them() -> None:
    poles = metarl.from_gym("CartPole-v1", parameters={"length": (0.25, 1.5)}, free_episodes=2, max_episode_steps=20)
    result = evaluate(Pushes(4), poles, 4)
    assert result.free_episodes == 2
    assert result.totals.tolist() == result.returns[:, 2].tolist()
    assert "free_episodes" not in adaptation_table([result])
    changing = ChangingTasks(FREE)
    assert changing.free_episodes == 1
    check_distribution(FREE)
