"""One self-contained HTML page about a run: figures inline, nothing loaded from elsewhere, light and dark."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.formatting import number, shown_episodes
from metarl.evaluation.results import Evaluation, adaptation_rows, describe, episode_names, measure_rows
from metarl.evaluation.statistics import success_interval
from metarl.files import write_atomically
from metarl.reports.adaptation_plots import (
    adaptation_figure,
    measure_figure,
    privileged_policies,
    step_figure,
    totals_figure,
)
from metarl.reports.attention_plots import AttentionRecord, attention_map_figure, attention_read_figure
from metarl.reports.comparison import Comparison
from metarl.reports.learning_plots import learning_figure
from metarl.reports.style import svg
from metarl.reports.style_sheet import STYLE_SHEET
from metarl.reports.trial_plots import trial_figure
from metarl.training.description import flattened
from metarl.training.logs import Rows, read_progress
from metarl.trials.recording import RecordedTrial

MOST_MEASURES = 6  # of the environment's own that are drawn; the table has all
MOST_ATTENTION_STEPS = 1500  # a heat map of a longer trial has more cells than a screen has points


def write_report(
    path: str | Path,
    *,
    title: str,
    evaluations: Sequence[Evaluation],
    logs: Sequence[str | Path | Rows] | Mapping[str, Rows] = (),
    trial: RecordedTrial | None = None,
    attention: AttentionRecord | None = None,
    comparison: Comparison | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page to `path` and return it. What is not given is left out of the page.

    `evaluations`: the agent's own first, then the references, all of the same trials. `logs`: the training logs,
    one a run, as `progress.csv` paths or as rows. `config`: what was run, nested as it is in the run folder.
    ValueError if the evaluations are not of the same trials.
    """
    parts = [
        _header(title, evaluations),
        _section("Adaptation to unseen tasks", _adaptation(evaluations)),
        _section("Several runs", _comparison(comparison)),
        _section("Meta-training", _learning(logs)),
        _section("One trial, step by step", _trial(trial)),
        _section("What the policy reads", _attention(attention)),
        _section("Configuration", _config(config or {})),
    ]
    target = Path(path)
    write_atomically(target, _page(title, "\n".join(parts)))
    return target


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>{STYLE_SHEET}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>" if content else ""


def _header(title: str, evaluations: Sequence[Evaluation]) -> str:
    if not evaluations:
        return f"<header><h1>{escape(title)}</h1></header>"
    agent = evaluations[0]
    return (
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="muted">{escape(describe(agent))}</p>\n'
        f'<dl class="facts">{"".join(_fact(*fact) for fact in _headlines(agent))}</dl>\n</header>'
    )


def _headlines(agent: Evaluation) -> list[tuple[str, str]]:
    """The numbers to see first."""
    means = agent.returns.mean(0)
    facts = [("return of a trial", number(float(agent.totals.mean())))]
    if agent.num_episodes > 1:
        free = " (free)" if agent.free_episodes else ""
        facts.append((f"first{free} → last episode", f"{number(float(means[0]))} → {number(float(means[-1]))}"))
    if agent.optimal is not None:
        facts.append((f"optimum ({agent.optimal.kind})", number(agent.optimal.total)))
        if agent.optimal.total > 0:
            facts.append(("share of the optimum", f"{agent.totals.mean() / agent.optimal.total:.1%}"))
    if agent.success is not None:
        share, low, high = (float(part) for part in success_interval(agent.success[:, -1]))
        facts.append(("solved in the last episode", f"{share:.1%} [{low:.0%}, {high:.0%}]"))
    if agent.success_at_end is not None:
        facts.append(("solved at its end", f"{agent.success_at_end[:, -1].mean():.1%}"))
    return facts


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _adaptation(evaluations: Sequence[Evaluation]) -> str:
    if not evaluations:
        return ""
    optimal = evaluations[0].optimal
    privileged = privileged_policies(evaluations)
    parts = []
    if evaluations[0].num_episodes > 1:
        caption = "Mean return of each episode of a trial; bands are 95 % intervals over tasks."
        caption += " Grey and dotted: privileged policies, which know the task." if privileged else ""
        caption += " Shaded: free episodes, which do not count." if evaluations[0].free_episodes else ""
        parts.append(_figure(svg(adaptation_figure(evaluations)), caption))
    if evaluations[0].steps.max() > 1:
        caption = "Mean reward at each environment step; dotted lines mark where episodes begin."
        parts.append(_figure(svg(step_figure(evaluations)), caption))
    totals = {evaluation.policy: evaluation.total() for evaluation in evaluations}
    reference = None if optimal is None else (f"optimum ({optimal.kind})", optimal.total)
    parts.append(
        _figure(
            svg(totals_figure(totals, reference, privileged=privileged)),
            "Return of a whole trial, with 95 % intervals.",
        )
    )
    note = "" if optimal is None or not optimal.source else f'<p class="muted">Optimum: {escape(optimal.source)}.</p>'
    return "\n".join([*parts, _table(*adaptation_rows(evaluations)), note, _measures(evaluations)])


def _measures(evaluations: Sequence[Evaluation]) -> str:
    """The environment's own measures: a table of all, and a curve for each of the first few."""
    rows = measure_rows(evaluations)
    if not rows:
        return ""
    shown = shown_episodes(evaluations[0].num_episodes)
    table = _table(["measure", *episode_names(evaluations[0], shown)], rows)
    drawn = [name for name, x in evaluations[0].measures.items() if np.isfinite(x).all(1).any()][:MOST_MEASURES]
    if evaluations[0].num_episodes == 1:
        return table
    caption = "The environment's own measure in each episode: its mean over the steps that tell it."
    return "\n".join([*(_figure(svg(measure_figure(evaluations, name)), caption) for name in drawn), table])


def _comparison(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    note = f'<p class="muted">{escape(comparison.note())}</p>'
    return _figure(svg(comparison.figure()), comparison.title) + _table(*comparison.cells()) + note


def _learning(logs: Sequence[str | Path | Rows] | Mapping[str, Rows]) -> str:
    runs = logs if isinstance(logs, Mapping) else _named_runs(logs)
    if not any(runs.values()):
        return ""
    return _figure(svg(learning_figure(runs)), "Return of the training rollouts, while the policy still explores.")


def _named_runs(logs: Sequence[str | Path | Rows]) -> dict[str, Rows]:
    runs: dict[str, Rows] = {}
    for i, log in enumerate(logs):
        name = Path(log).parent.name if isinstance(log, (str, Path)) else f"run {i + 1}"
        runs[name if name not in runs else f"{name} ({i + 1})"] = (
            read_progress(log) if isinstance(log, (str, Path)) else log
        )
    return runs


def _trial(trial: RecordedTrial | None) -> str:
    if trial is None:
        return ""
    parameters = ", ".join(f"{name} {_short(value[0])}" for name, value in trial.task.to_json().items())
    caption = f"{trial.policy} in one task of the {trial.distribution.split_name} split: {parameters}."
    return _figure(svg(trial_figure(trial)), caption)


def _attention(attention: AttentionRecord | None) -> str:
    if attention is None:
        return ""
    reads = (
        "A few policy steps, and what they read: a row for each head, stronger where the weight is larger. "
        "The percentages say how much of its attention, over all layers and heads, the step gives to each episode."
    )
    maps = "Every policy step (down) against the steps it reads (across); dotted lines mark where episodes begin."
    parts = [_figure(svg(attention_read_figure(attention)), reads)]
    if len(attention.rewards) <= MOST_ATTENTION_STEPS:
        parts.append(_figure(svg(attention_map_figure(attention)), maps))
    return "\n".join(parts)


def _config(config: Mapping[str, Any]) -> str:
    if not config:
        return ""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in flattened(config).items()
    )
    return f'<table class="config">{rows}</table>'


def _figure(picture: str, caption: str) -> str:
    return f"<figure>\n{picture}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _short(value: Any) -> str:
    """A parameter as people read it: few numbers, few digits."""
    if isinstance(value, list):
        if len(value) > 12 or (value and isinstance(value[0], list)):
            return "(a table)"
        return f"({', '.join(_short(entry) for entry in value)})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
