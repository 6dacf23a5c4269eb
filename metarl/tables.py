"""Evaluations as aligned plain text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl.results import Evaluation

COLUMNS = 8  # episodes that a table shows at most
# options of a plugged-in family that say how it is made, not what its tasks are: its name stands for them
WIRING = ("family", "make", "apply", "draw", "share_tasks", "show_tasks", "workers", "timeout")


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain-text table: the first column to the left, all others to the right."""
    cells = [header, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def adaptation_table(evaluations: Sequence[Evaluation]) -> str:
    """Mean return of chosen episodes and of the whole trial, one policy a row, the optimum last."""
    header, rows = adaptation_rows(evaluations)
    return f"{describe(evaluations[0])}\n\n{aligned(header, rows)}"


def adaptation_rows(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the adaptation table. ValueError if the evaluations are not of the same trials."""
    check_comparable(evaluations)
    shown = shown_episodes(evaluations[0].num_episodes)
    header = ["policy", *[f"ep {k + 1}" for k in shown], "trial ± s.e."]
    optimal = evaluations[0].optimal
    solved = any(evaluation.success is not None for evaluation in evaluations)
    header += ["regret"] if optimal is not None else []
    header += ["solved last"] if solved else []
    rows = [_row(evaluation, shown, solved) for evaluation in evaluations]
    if optimal is not None:
        episodes = optimal.per_episode
        cells = ["" if episodes is None else number(episodes[k]) for k in shown]
        rows.append([f"optimum ({optimal.kind})", *cells, number(optimal.total, optimal.error), number(0.0)])
        rows[-1] += [""] if solved else []
    return header, rows


def _row(evaluation: Evaluation, shown: list[int], solved: bool) -> list[str]:
    means = evaluation.returns.mean(0)
    totals = evaluation.totals
    error = float(totals.std(ddof=1)) / len(totals) ** 0.5 if len(totals) > 1 else 0.0
    name = evaluation.policy + (" (told the task)" if evaluation.privileged else "")
    row = [name, *[number(means[k]) for k in shown], number(totals.mean(), error)]
    if evaluation.regret is not None:
        row.append("" if evaluation.privileged else number(evaluation.regret))
    if solved:
        row.append("" if evaluation.success is None else f"{evaluation.success[:, -1].mean():.1%}")
    return row


def describe(evaluation: Evaluation) -> str:
    """One line: the distribution, its options, the split, how much was measured and with which seed."""
    return f"{describe_trials(evaluation)} · {evaluation.num_tasks:,} tasks · seed {evaluation.seed}"


def describe_trials(evaluation: Evaluation) -> str:
    """One line for what all evaluations in a comparison share: distribution, options, split and episodes."""
    told = {name: value for name, value in evaluation.options.items() if name not in WIRING and value is not None}
    options = ", ".join(f"{name}={value}" for name, value in told.items())
    family = evaluation.distribution + (f" ({options})" if options else "")
    episodes = "1 episode" if evaluation.num_episodes == 1 else f"{evaluation.num_episodes} episodes"
    return f"{family} · {evaluation.split} split · {episodes}"


def shown_episodes(num_episodes: int, most: int = COLUMNS) -> list[int]:
    """Indices of at most `most` episodes, first and last included, dense at the start where adaptation happens."""
    if num_episodes <= most:
        return list(range(num_episodes))
    return sorted({round(index) - 1 for index in np.geomspace(1, num_episodes, most).tolist()})


def number(value: float, error: float | None = None) -> str:
    """Four significant digits, or as many decimals as the error supports."""
    if error is not None and error > 0:
        decimals = int(np.clip(1 - np.floor(np.log10(error)), 0, 6))
        return f"{value:.{decimals}f} ± {error:.{decimals}f}"
    decimals = int(np.clip(3 - np.floor(np.log10(max(abs(value), 1e-3))), 0, 3))
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def check_comparable(evaluations: Sequence[Evaluation]) -> None:
    """ValueError unless there are evaluations, and all are of the same distribution, split and number of episodes."""
    if not evaluations:
        raise ValueError("nothing to compare: no evaluations were given")
    first, *others = ((_family(evaluation), evaluation.policy) for evaluation in evaluations)
    for family, policy in others:
        if family != first[0]:
            raise ValueError(f"{first[1]} and {policy} cannot be compared: {first[0]} against {family}")


def _family(evaluation: Evaluation) -> tuple[Any, ...]:
    options = tuple(sorted((name, str(value)) for name, value in evaluation.options.items()))
    return evaluation.distribution, options, evaluation.split, evaluation.num_episodes
