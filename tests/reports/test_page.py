"""Figures and pages say what they were given, escape it, load nothing, and leave no trace outside."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

import metarl
from metarl.evaluation.results import Evaluation, adaptation_table
from metarl.reports import adaptation_plots as plots
from metarl.reports import learning_plots
from metarl.reports import style as figures
from metarl.reports.attention_plots import AttentionRecord, attention_map_figure, attention_read_figure, default_readers
from metarl.reports.comparison import compare
from metarl.reports.page import write_report
from metarl.reports.trial_plots import trial_figure
from metarl.tasks.distribution import OptimalReturn
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.training import logs
from metarl.trials.recording import RecordedTrial, record_trial


class Constant(AdaptivePolicy):
    """Always the same action."""

    def __init__(self, action: Any) -> None:
        super().__init__(1)
        self.action: Tensor = torch.as_tensor(action)

    def begin(self, mask: Tensor | None = None) -> None:
        pass

    def act(self, observation: Tensor) -> Tensor:
        return self.action[None]

    def observe(self, transition: Transition) -> None:
        pass


def evaluation(policy: str = "ours", level: float = 1.0, episodes: int = 3, seed: int = 0, **fields: Any) -> Evaluation:
    """Forty tasks whose returns lie around `level`."""
    returns = level + 0.1 * np.random.default_rng(seed).normal(size=(40, episodes))
    known: dict[str, Any] = {
        "distribution": "family-v1",
        "options": {"size": 3},
        "split": "test",
        "policy": policy,
        "seed": seed,
        "returns": returns,
        "steps": np.full(returns.shape, 2),
        "success": None,
        "step_rewards": np.repeat(returns.mean(0) / 2, 2),
        "step_errors": np.full(2 * episodes, 0.01),
        "step_counts": np.full(2 * episodes, 40),
        "tasks": None,
        "optimal": OptimalReturn((2.0,) * episodes, 2.0 * episodes, "exact", source="by hand <exactly>"),
    }
    return Evaluation(**{**known, **fields})


def attention(layers: int = 2, heads: int = 3, episodes: int = 3, length: int = 4) -> AttentionRecord:
    """Every step reads all steps up to itself alike."""
    steps = episodes * length
    weights = np.tril(np.ones((layers, heads, steps, steps))) / np.arange(1, steps + 1)[:, None]
    return AttentionRecord(weights, np.ones(steps), np.arange(steps) % length == length - 1)


def grid_trial() -> RecordedTrial:
    grid = metarl.make("grid-navigation")
    return record_trial(Constant(2), grid, grid.tasks(goal=[[4, 0]]), name="right & right")


def texts(figure: Figure) -> str:
    """Everything that is written in a figure."""
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


class Outside(HTMLParser):
    """Collects the tags of a page and whatever it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "path", "use", "image", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not (value or "").startswith(("#", "data:")):
                self.loads.append(f"{tag} {value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "path", "use", "image", "br"):
            assert self.open.pop() == tag


def test_the_report_is_one_page_that_loads_nothing(tmp_path: Path) -> None:
    log = tmp_path / "run-a" / "progress.csv"
    log.parent.mkdir()
    log.write_text("time/total_timesteps,rollout/ep_rew_mean,note\n100,1.5,x\n200,,\n300,2.5,\n")
    page = write_report(
        tmp_path / "report.html",
        title="A <b>bold</b> title",
        evaluations=[evaluation("<script>alert(1)</script>"), evaluation("random", 0.2)],
        logs=[log],
        trial=grid_trial(),
        attention=attention(),
        comparison=compare([evaluation("ours", seed=0), evaluation("ours", seed=1), evaluation("random", 0.2)]),
        config={"agent": "rl2", "options": {"width": 64, "note": "a & b"}},
    )
    text = page.read_text(encoding="utf-8")
    parser = Outside()
    parser.feed(text)
    assert parser.loads == []
    assert parser.open == []
    assert parser.seen.count("svg") == 8  # three of the adaptation, comparison, learning, trial, two of the attention
    assert "script" not in parser.seen
    assert "b" not in parser.seen
    assert not re.findall(r"url\((?!#)", text)
    for part in ("options.width", "a &amp; b", "right &amp; right", "by hand &lt;exactly&gt;", "goal (4, 0)"):
        assert part in text


def test_a_report_leaves_out_what_it_was_not_given(tmp_path: Path) -> None:
    text = write_report(tmp_path / "r.html", title="Short", evaluations=[evaluation()]).read_text(encoding="utf-8")
    assert "Adaptation to unseen tasks" in text
    assert "Meta-training" not in text
    assert "What the policy reads" not in text
    single = evaluation(episodes=1, steps=np.ones((40, 1), int), success=np.ones((40, 1), bool), optimal=None)
    text = write_report(tmp_path / "r.html", title="One pull", evaluations=[single]).read_text(encoding="utf-8")
    assert text.count("<svg") == 1
    assert "100.0%" in text
    assert "optimum" not in text


def test_equal_input_gives_an_equal_page(tmp_path: Path) -> None:
    pages = [write_report(tmp_path / name, title="x", evaluations=[evaluation()]) for name in ("a.html", "b.html")]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    figures.svg(plots.adaptation_figure([evaluation()]))
    figures.png(plots.adaptation_figure([evaluation()]))
    assert dict(matplotlib.rcParams) == before


def test_svg_takes_its_inks_from_the_page_and_a_file_brings_its_own(tmp_path: Path) -> None:
    figure = plots.adaptation_figure([evaluation()])
    text = figures.svg(figure)
    assert "var(--series-0)" in text
    assert figures.SERIES[0] not in text
    figures.save_figure(figure, tmp_path / "figure.svg")
    assert "var(" not in (tmp_path / "figure.svg").read_text()
    figures.save_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        figures.save_figure(figure, "figure.pdf")


def test_adaptation_figure_draws_every_policy_and_the_optimum() -> None:
    figure = plots.adaptation_figure([evaluation("ours"), evaluation("random", 0.2)])
    lines = [line for line in figure.axes[0].lines if len(np.asarray(line.get_xdata())) == 3]
    np.testing.assert_allclose(np.asarray(lines[0].get_ydata()), evaluation("ours").returns.mean(0))
    assert list(np.asarray(lines[-1].get_ydata())) == [2.0] * 3
    for name in ("ours", "random", "optimum"):
        assert name in texts(figure)


def test_long_trials_are_averaged_in_blocks() -> None:
    long = evaluation(episodes=90)
    figure = plots.adaptation_figure([long])
    assert "means of 3" in texts(figure)
    x, y = (np.asarray(values) for values in figure.axes[0].lines[0].get_data())
    assert x.tolist() == list(range(2, 91, 3))
    np.testing.assert_allclose(y, long.returns.mean(0).reshape(30, 3).mean(1))


def test_step_figure_marks_episodes_of_equal_length_only() -> None:
    assert len(plots.step_figure([evaluation()]).axes[0].lines) == 1 + 2
    uneven = evaluation(steps=np.arange(120).reshape(40, 3) + 1)
    assert len(plots.step_figure([uneven]).axes[0].lines) == 1


def test_privileged_policies_are_drawn_apart() -> None:
    both = [evaluation("ours"), evaluation("oracle", privileged=True), evaluation("random", 0.2)]
    lines = plots.adaptation_figure(both).axes[0].lines
    assert [line.get_color() for line in lines[:3]] == [figures.SERIES[0], figures.MUTED, figures.SERIES[1]]
    assert "oracle (privileged)" in adaptation_table(both)


def test_episodes_are_drawn_since_trials_get_longer() -> None:
    rows = [
        {"time/total_timesteps": 100.0 * i, "rollout/trial_rew_mean": 6.0 * i, "rollout/ep_rew_mean": 3.0}
        for i in (1, 2, 4)
    ]
    figure = learning_plots.learning_figure({"run": rows})
    assert np.asarray(figure.axes[0].lines[0].get_ydata()).tolist() == [3, 3, 3]
    assert "return of an episode" in texts(figure)
    assert "trial rew mean" in texts(learning_plots.learning_figure({"run": rows}, "rollout/trial_rew_mean"))


def test_labels_at_line_ends_keep_their_distance() -> None:
    places = figures._spread(np.array([0.1, 0.5, 0.5, 0.51, 0.9]), 0.1)
    assert places[0] == 0.1
    assert places[-1] == 0.9
    assert np.diff(places).min() == pytest.approx(0.1)
    assert np.mean(places[1:4]) == pytest.approx(np.mean([0.5, 0.5, 0.51]))


def test_learning_figure_finds_the_return(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    path.write_text("time/total_timesteps,rollout/ep_rew_mean,train/loss\n100,1,9\n200,,8\n300,3,7\n")
    rows = logs.read_progress(path)
    assert rows[1] == {"time/total_timesteps": 200.0, "train/loss": 8.0}
    axes = learning_plots.learning_figure({"run": rows}).axes[0]
    assert np.asarray(axes.lines[0].get_data()).tolist() == [[100, 300], [1, 3]]
    assert np.asarray(
        learning_plots.learning_figure({"run": rows}, "train/loss").axes[0].lines[0].get_ydata()
    ).tolist() == [
        9,
        8,
        7,
    ]
    with pytest.raises(ValueError, match="no run logged 'x'"):
        learning_plots.learning_figure({"run": rows}, "x")


@pytest.mark.parametrize(
    ("name", "options", "action", "words"),
    [
        ("grid-navigation", {}, 2, "episode 4"),
        ("dark-room", {"num_episodes": 9}, 1, "episode 9"),
        ("bernoulli-bandit", {"arms": 3}, 1, "arm 3"),
        ("bernoulli-bandit", {"arms": 20, "pulls": 100}, 1, "true payout"),
        ("point-navigation", {}, [0.01, 0.02], "episode 3"),
        ("sparse-point-navigation", {}, [0.05, 0.0], "20 steps"),
        ("tabular-mdp", {"num_episodes": 12}, 0, "return by episode"),
    ],
)
def test_every_family_draws_its_trials(name: str, options: dict[str, Any], action: Any, words: str) -> None:
    family = metarl.make(name, **options)
    trial = record_trial(Constant(action), family, family.sample(1, metarl.seeding.generator(0)))
    figure = trial_figure(trial)
    figures.svg(figure)
    assert words in texts(figure)


def test_a_grid_path_starts_at_the_start_and_says_when_it_found_the_goal() -> None:
    figure = trial_figure(grid_trial())
    assert "goal at step 4" in texts(figure)
    assert "return 11.7" in texts(figure)
    segments = figure.axes[0].collections[-1].get_segments()  # type: ignore[attr-defined]
    assert len(segments) == 15
    assert np.abs(segments[0][0]).max() < 0.25
    assert np.abs(segments[-1][-1] - [4, 0]).max() < 0.25


def test_attention_shares_add_up_over_episodes() -> None:
    record = attention()
    assert record.shares(11).tolist() == pytest.approx([1 / 3] * 3)
    assert record.shares(5).tolist() == pytest.approx([4 / 6, 2 / 6, 0])
    assert default_readers(record) == [4, 8, 11]


def test_attention_figures_show_every_head_and_mark_the_episodes() -> None:
    maps = attention_map_figure(attention())
    for layer in (1, 2):
        for head in (1, 2, 3):
            assert f"layer {layer} · head {head}" in texts(maps)
    reads = attention_read_figure(attention())
    assert "step 5 of the trial (step 1 of episode 2) reads" in texts(reads)
    assert "80%" in texts(reads)  # at step 5 four of five steps read belong to episode 1


def test_attention_of_a_trial_without_episode_ends() -> None:
    record = AttentionRecord(attention(1, 1).weights, np.zeros(12), np.zeros(12, bool))
    assert record.episodes() == [slice(0, 12)]
    assert default_readers(record) == [11]
    figures.svg(attention_read_figure(record))


def test_bad_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="as many rewards and dones"):
        AttentionRecord(np.ones((1, 1, 4, 4)), np.ones(5), np.ones(5, bool))
    with pytest.raises(ValueError, match="finite"):
        AttentionRecord(np.full((1, 1, 4, 4), np.nan), np.ones(4), np.ones(4, bool))


def test_comparison_groups_runs_and_measures_the_others_against_the_first() -> None:
    runs = [evaluation("ours", 1.0, seed=0), evaluation("ours", 1.5, seed=1), evaluation("random", 0.2)]
    result = compare(runs)
    ours, random = result.rows["ours"], result.rows["random"]
    assert (ours.runs, ours.tasks, random.runs) == (2, 80, 1)
    assert ours.total.value == pytest.approx(np.concatenate([run.totals for run in runs[:2]]).mean())
    assert ours.total.low < 3.1  # both runs could have been the worse one
    assert ours.total.high > 4.4
    assert ours.improvement is None
    assert random.improvement is not None
    assert random.improvement.value == 0
    table = result.table()
    assert "P(> ours)" in table
    assert "optimum (exact)" in table
    assert "tasks and runs" in table
    assert "over tasks;" in compare([evaluation("ours")]).table()


def test_comparison_draws_curves_and_totals(tmp_path: Path) -> None:
    result = compare({"a": [evaluation(level=1.0)], "b": [evaluation(level=2.0)]})
    written = texts(result.figure())
    for part in ("a", "b", "optimum 6.000", "interquartile mean"):
        assert part in written
    result.save_figure(tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


@pytest.mark.parametrize("other", [{"split": "ood"}, {"options": {"size": 4}}, {"episodes": 4}])
def test_different_trials_are_not_compared(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ours and theirs cannot be compared"):
        compare([evaluation("ours"), evaluation("theirs", **other)])


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="no evaluations"):
        compare([])
    with pytest.raises(ValueError, match="no evaluations of b"):
        compare({"a": [evaluation()], "b": []})
