"""The result of an evaluation: returns by task and episode, and statistics of these."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.formatting import aligned, number, shown_episodes
from metarl.evaluation.statistics import Interval, mean_interval, success_interval
from metarl.files import write_atomically
from metarl.tasks.distribution import OptimalReturn

FORMAT = 1  # of the JSON form
ARRAYS = {
    "returns": np.float64,
    "steps": np.int64,
    "success": np.bool_,
    "success_at_end": np.bool_,
    "step_rewards": np.float64,
    "step_errors": np.float64,
    "step_counts": np.int64,
}
MAY_BE_NONE = ("success", "success_at_end")  # where the environment reports none


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """The returns of one policy in N tasks over the K episodes of a trial. `metarl.evaluate` makes it.

    >>> import metarl
    >>> from metarl.agents import RandomPolicy
    >>> rooms = metarl.make("grid-navigation")
    >>> result = metarl.evaluate(RandomPolicy(rooms, num_tasks=10), rooms.split("test"), num_tasks=10)
    >>> result.curve().value.shape, result.gains.shape, result.optimal.kind
    ((4,), (10,), 'exact')

    Raises ValueError if `returns`, `steps`, `success` and `measures` are not of one shape `[N, K]`.
    """

    distribution: str
    options: Mapping[str, Any]  # of the distribution
    split: str
    policy: str
    seed: int
    returns: NDArray[np.float64]  # [N, K] undiscounted
    steps: NDArray[np.int64]  # [N, K] environment steps that each episode took
    success: NDArray[np.bool_] | None  # [N, K] success at any step of the episode; None: not reported
    step_rewards: NDArray[np.float64]  # [T] mean reward at each step of the trial
    step_errors: NDArray[np.float64]  # [T] its standard error over tasks
    step_counts: NDArray[np.int64]  # [T] number of tasks whose trial lasted that long
    tasks: Mapping[str, Any] | None  # parameters as plain lists; None: too many to keep
    optimal: OptimalReturn | None
    privileged: bool = False  # whether the policy knew the task: an upper limit for the others
    success_at_end: NDArray[np.bool_] | None = None  # [N, K] success at the last step of the episode
    free_episodes: int = 0  # the first of the K, whose returns are kept and count in no sum over a trial
    # what the environments' infos tell, by name: [N, K] means over the steps of an episode that tell it, NaN if none do
    measures: Mapping[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.returns.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"returns need shape [tasks, episodes], got {shape}")
        if not 0 <= self.free_episodes < shape[1]:
            raise ValueError(f"free_episodes must leave one of the {shape[1]} episodes, got {self.free_episodes}")
        others = {"steps": self.steps, "success": self.success, "success_at_end": self.success_at_end, **self.measures}
        for name, values in others.items():
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} needs the shape of returns, {shape}, got {values.shape}")

    @property
    def num_tasks(self) -> int:
        return len(self.returns)

    @property
    def num_episodes(self) -> int:
        return len(self.returns[0])

    @property
    def totals(self) -> NDArray[np.float64]:
        """Return of each trial `[N]`, without its free episodes."""
        return np.asarray(self.returns[:, self.free_episodes :].sum(1))

    @property
    def gains(self) -> NDArray[np.float64]:
        """Return of the last episode minus that of the first that counts, of each trial `[N]`: gained by adapting."""
        return np.asarray(self.returns[:, -1] - self.returns[:, self.free_episodes])

    @property
    def ended(self) -> NDArray[np.int64]:
        """Steps of the trial `[N, K]` after which each episode had ended: what adaptation cost."""
        return np.asarray(self.steps.cumsum(1))

    @property
    def regret(self) -> float | None:
        """Optimal minus mean return of a trial; None where the optimum is unknown. Sampling may make it negative."""
        return None if self.optimal is None else self.optimal.total - float(self.totals.mean())

    def curve(self, confidence: float = 0.95) -> Interval:
        """Mean return of each episode `[K]` with its interval over tasks: the adaptation curve."""
        return _interval(self.returns, confidence)

    def success_curve(self, confidence: float = 0.95) -> Interval | None:
        """Share of tasks `[K]` solved in each episode, with Wilson's interval."""
        return None if self.success is None else success_interval(self.success, confidence)

    def measure_curve(self, name: str, confidence: float = 0.95) -> Interval:
        """Mean of a measure in each episode `[K]`, with its interval, over the tasks that tell it in all episodes.

        Raises ValueError if there is no such measure, or if no task tells it in all episodes.
        """
        if name not in self.measures:
            raise ValueError(f"no measure {name!r}; there are {sorted(self.measures)}")
        told = self.measures[name][np.isfinite(self.measures[name]).all(1)]
        if not len(told):
            raise ValueError(f"no task tells {name!r} in all of its episodes")
        return _interval(told, confidence)

    def success_after(self, adaptation_episodes: int) -> NDArray[np.float64]:
        """Share `[N]` of the episodes after the first `adaptation_episodes` in which each task was solved at any step.

        Raises ValueError if the environment reports no success, or if no episode comes after those.
        """
        if self.success is None:
            raise ValueError(f"{self.distribution} reports no success")
        if not 0 <= adaptation_episodes < self.num_episodes:
            raise ValueError(
                f"none of the {self.num_episodes} episodes comes after {adaptation_episodes} of adaptation"
            )
        return np.asarray(self.success[:, adaptation_episodes:].mean(1))

    def total(self, confidence: float = 0.95) -> Interval:
        """Mean return of a trial with its interval over tasks."""
        return _interval(self.totals, confidence)

    def gap(self, confidence: float = 0.95) -> Interval:
        """Mean of `gains` with its interval over tasks."""
        return _interval(self.gains, confidence)

    def regret_curve(self) -> NDArray[np.float64] | None:
        """Optimal minus mean return of each episode `[K]`; None if the optimum of each episode is not known."""
        if self.optimal is None or self.optimal.per_episode is None:
            return None
        return np.asarray(np.asarray(self.optimal.per_episode) - self.returns.mean(0))

    def table(self) -> str:
        """The adaptation curve, its summary and the environment's own measures as aligned plain text."""
        return adaptation_table([self])

    def to_json(self) -> str:
        """All fields as JSON text. Numbers are kept exactly."""
        fields: dict[str, Any] = {"format": FORMAT}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            fields[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
        fields["optimal"] = None if self.optimal is None else dataclasses.asdict(self.optimal)
        fields["measures"] = {name: _without_nan(x) for name, x in self.measures.items()}
        return json.dumps(fields, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> "Evaluation":
        """The inverse of `to_json`. Raises ValueError if the text is not an evaluation."""
        try:
            fields = json.loads(text)
            version = fields.pop("format")
            if version != FORMAT:
                raise ValueError(f"format {version} was written by another version of metarl; this one reads {FORMAT}")
            for name, dtype in ARRAYS.items():
                absent = name in MAY_BE_NONE and fields.get(name) is None
                fields[name] = None if absent else np.asarray(_given(fields, name), dtype)
            fields["measures"] = {name: np.asarray(x, np.float64) for name, x in fields.get("measures", {}).items()}
            fields["optimal"] = _optimal(fields["optimal"])
            return Evaluation(**fields)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not an evaluation written by metarl: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the JSON text to `path`, whole or not at all."""
        write_atomically(path, self.to_json())

    @staticmethod
    def load(path: str | Path) -> "Evaluation":
        """Read what `save` wrote. Raises ValueError, naming the file, if it is damaged."""
        try:
            return Evaluation.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _without_nan(values: NDArray[np.float64]) -> list[list[float | None]]:
    """Nested lists in which None stands for NaN, which JSON does not have."""
    return [[value if np.isfinite(value) else None for value in row] for row in values.tolist()]


def _given(fields: Mapping[str, Any], name: str) -> Any:
    if fields[name] is None:
        raise ValueError(f"{name} must be numbers, got null")
    return fields[name]


def _interval(scores: NDArray[Any], confidence: float) -> Interval:
    """The mean over tasks with its interval."""
    return mean_interval([scores], confidence=confidence)


def _optimal(fields: dict[str, Any] | None) -> OptimalReturn | None:
    if fields is None:
        return None
    per_episode = fields["per_episode"]
    return OptimalReturn(**{**fields, "per_episode": None if per_episode is None else tuple(per_episode)})


# options of a plugged-in family that say how its environments are made; tables leave them out
WIRING = ("name", "make", "apply", "draw", "share_tasks", "show_tasks", "workers", "timeout")


def adaptation_table(evaluations: Sequence[Evaluation]) -> str:
    """A table of mean returns, of some episodes and of the whole trial: one policy in a row, the optimum last.

    Below it stand the environment's own measures, if there are any.
    Raises ValueError if the evaluations are not of the same trials.
    """
    tables = [aligned(*adaptation_rows(evaluations))]
    if rows := measure_rows(evaluations):
        shown = shown_episodes(evaluations[0].num_episodes)
        tables.append(aligned(["measure", *episode_names(evaluations[0], shown)], rows))
    return "\n\n".join([describe(evaluations[0]), *tables])


def measure_rows(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """Cells of the environment's own measures: a row for each measure and policy that has it."""
    shown = shown_episodes(evaluations[0].num_episodes)
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.measures)
    return [
        [f"{name}, {each.policy}", *[_mean_cell(each.measures[name][:, k]) for k in shown]]
        for name in names
        for each in evaluations
        if name in each.measures
    ]


def episode_names(evaluation: Evaluation, shown: Sequence[int]) -> list[str]:
    """Column heads of the episodes with these indices; those that do not count are marked as free."""
    return [f"ep {k + 1}{' (free)' if k < evaluation.free_episodes else ''}" for k in shown]


def _mean_cell(values: NDArray[np.float64]) -> str:
    told = values[np.isfinite(values)]
    return number(float(told.mean())) if len(told) else ""


def adaptation_rows(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of `adaptation_table`. Raises ValueError if the evaluations are not of the same trials."""
    check_comparable(evaluations)
    shown = shown_episodes(evaluations[0].num_episodes)
    header = ["policy", *episode_names(evaluations[0], shown), "trial ± s.e."]
    optimal = evaluations[0].optimal
    solved = {"solved last": "success"} if any(each.success is not None for each in evaluations) else {}
    if any(_lost_at_end(each) for each in evaluations):
        solved["at its end"] = "success_at_end"
    header += ["regret"] if optimal is not None else []
    header += list(solved)
    rows = [_row(evaluation, shown, solved.values()) for evaluation in evaluations]
    if optimal is not None:
        episodes = optimal.per_episode
        cells = ["" if episodes is None else number(episodes[k]) for k in shown]
        rows.append([f"optimum ({optimal.kind})", *cells, number(optimal.total, optimal.error), number(0.0)])
        rows[-1] += [""] * len(solved)
    return header, rows


def _lost_at_end(evaluation: Evaluation) -> bool:
    """Whether some success did not last to the end of its episode."""
    success, at_end = evaluation.success, evaluation.success_at_end
    return success is not None and at_end is not None and bool((success != at_end).any())


def _row(evaluation: Evaluation, shown: list[int], solved: Iterable[str]) -> list[str]:
    means = evaluation.returns.mean(0)
    totals = evaluation.totals
    error = float(totals.std(ddof=1)) / len(totals) ** 0.5 if len(totals) > 1 else 0.0
    name = evaluation.policy + (" (privileged)" if evaluation.privileged else "")
    row = [name, *[number(means[k]) for k in shown], number(totals.mean(), error)]
    if evaluation.regret is not None:
        row.append("" if evaluation.privileged else number(evaluation.regret))
    for name in solved:
        values = getattr(evaluation, name)
        row.append("" if values is None else f"{values[:, -1].mean():.1%}")
    return row


def describe(evaluation: Evaluation) -> str:
    """One line with the distribution, its options, the split, the numbers of episodes and tasks, and the seed."""
    return f"{describe_trials(evaluation)} · {evaluation.num_tasks:,} tasks · seed {evaluation.seed}"


def describe_trials(evaluation: Evaluation) -> str:
    """One line with what all evaluations of a comparison share: distribution, options, split and episodes."""
    left_out = (*WIRING, "free_episodes")  # the number of episodes has these beside it
    shown = {name: value for name, value in evaluation.options.items() if name not in left_out and value is not None}
    options = ", ".join(f"{name}={value}" for name, value in shown.items())
    family = evaluation.distribution + (f" ({options})" if options else "")
    episodes = "1 episode" if evaluation.num_episodes == 1 else f"{evaluation.num_episodes} episodes"
    free = f", the first {evaluation.free_episodes} free" if evaluation.free_episodes else ""
    return f"{family} · {evaluation.split} split · {episodes}{free}"


def check_comparable(evaluations: Sequence[Evaluation]) -> None:
    """Raise ValueError unless there are evaluations of one distribution, split and number of episodes, free and all."""
    if not evaluations:
        raise ValueError("nothing to compare: no evaluations were given")
    first, *others = ((_family(evaluation), evaluation.policy) for evaluation in evaluations)
    for family, policy in others:
        if family != first[0]:
            raise ValueError(f"{first[1]} and {policy} cannot be compared: {first[0]} against {family}")


def _family(evaluation: Evaluation) -> tuple[Any, ...]:
    options = tuple(sorted((n, str(value)) for n, value in evaluation.options.items() if n != "free_episodes"))
    return evaluation.distribution, options, evaluation.split, evaluation.num_episodes, evaluation.free_episodes
