"""The result of an evaluation: returns of tasks by episodes, and what follows from them."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from metarl.files import replacement
from metarl.statistics import Interval, bootstrap_interval
from metarl.tasks import OptimalReturn

FORMAT = 1  # of the JSON form
ARRAYS = {
    "returns": np.float64,
    "steps": np.int64,
    "success": np.bool_,
    "step_rewards": np.float64,
    "step_errors": np.float64,
    "step_counts": np.int64,
}


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """How one policy adapted to N tasks over the K episodes of a trial."""

    distribution: str
    options: Mapping[str, Any]  # of the distribution
    split: str
    policy: str
    seed: int
    returns: NDArray[np.float64]  # [N, K] undiscounted
    steps: NDArray[np.int64]  # [N, K] environment steps that each episode took
    success: NDArray[np.bool_] | None  # [N, K] success at any step of the episode, where the environment reports it
    step_rewards: NDArray[np.float64]  # [T] mean reward at each step of the trial
    step_errors: NDArray[np.float64]  # [T] its standard error over tasks
    step_counts: NDArray[np.int64]  # [T] tasks whose trial lasted that long
    tasks: Mapping[str, Any] | None  # parameters as plain lists; None where they were too many to keep
    optimal: OptimalReturn | None
    privileged: bool = False  # whether the policy was told the task: a limit, no competitor

    def __post_init__(self) -> None:
        shape = self.returns.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"returns need shape [tasks, episodes], got {shape}")
        for name, values in (("steps", self.steps), ("success", self.success)):
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
        """Return of each trial `[N]`."""
        return np.asarray(self.returns.sum(1))

    @property
    def gains(self) -> NDArray[np.float64]:
        """Last minus first episode of each trial `[N]`: what adaptation brought."""
        return np.asarray(self.returns[:, -1] - self.returns[:, 0])

    @property
    def ended(self) -> NDArray[np.int64]:
        """Steps of the trial `[N, K]` after which each episode had ended: what adaptation cost."""
        return np.asarray(self.steps.cumsum(1))

    @property
    def regret(self) -> float | None:
        """Optimal minus mean return of a trial; None where the optimum is unknown. Sampling may make it negative."""
        return None if self.optimal is None else self.optimal.total - float(self.totals.mean())

    def curve(self, confidence: float = 0.95) -> Interval:
        """Mean return of each episode `[K]` with its bootstrap interval over tasks: the adaptation curve."""
        return _interval(self.returns, confidence)

    def success_curve(self, confidence: float = 0.95) -> Interval | None:
        """Share of tasks `[K]` solved in each episode, with its interval."""
        return None if self.success is None else _interval(self.success, confidence)

    def success_after(self, adaptation_episodes: int) -> NDArray[np.float64]:
        """Share of the episodes after the first `adaptation_episodes` that each task `[N]` was solved in, at any step.

        ValueError if the environment reports no success, or no episode comes after those.
        """
        if self.success is None:
            raise ValueError(f"{self.distribution} reports no success")
        if not 0 <= adaptation_episodes < self.num_episodes:
            raise ValueError(
                f"none of the {self.num_episodes} episodes comes after {adaptation_episodes} of adaptation"
            )
        return np.asarray(self.success[:, adaptation_episodes:].mean(1))

    def total(self, confidence: float = 0.95) -> Interval:
        """Mean return of a trial with its bootstrap interval over tasks."""
        return _interval(self.totals, confidence)

    def gap(self, confidence: float = 0.95) -> Interval:
        """Mean of `gains` with its bootstrap interval over tasks."""
        return _interval(self.gains, confidence)

    def regret_curve(self) -> NDArray[np.float64] | None:
        """Optimal minus mean return of each episode `[K]`; None where the optimum is not known by episode."""
        if self.optimal is None or self.optimal.per_episode is None:
            return None
        return np.asarray(np.asarray(self.optimal.per_episode) - self.returns.mean(0))

    def table(self) -> str:
        """The adaptation curve and its summary as aligned plain text."""
        from metarl.tables import adaptation_table  # the table compares any number of evaluations, so it builds on this

        return adaptation_table([self])

    def to_json(self) -> str:
        """Everything as JSON text; numbers are kept exactly."""
        fields: dict[str, Any] = {"format": FORMAT}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            fields[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
        fields["optimal"] = None if self.optimal is None else dataclasses.asdict(self.optimal)
        return json.dumps(fields, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> "Evaluation":
        """The inverse of `to_json`. ValueError if the text is not an evaluation."""
        try:
            fields = json.loads(text)
            version = fields.pop("format")
            if version != FORMAT:
                raise ValueError(f"format {version} was written by another version of metarl; this one reads {FORMAT}")
            for name, dtype in ARRAYS.items():
                fields[name] = None if fields[name] is None else np.asarray(fields[name], dtype)
            fields["optimal"] = _optimal(fields["optimal"])
            return Evaluation(**fields)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not an evaluation written by metarl: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the JSON form; a reader never sees half a file."""
        write_atomically(path, self.to_json())

    @staticmethod
    def load(path: str | Path) -> "Evaluation":
        """Read what `save` wrote. ValueError naming the file if it is damaged."""
        try:
            return Evaluation.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all, readable for everybody (see `metarl.files.replacement`)."""
    with replacement(path) as file:
        file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        file.chmod(0o644)  # temporary files are private


def _interval(scores: NDArray[Any], confidence: float) -> Interval:
    """Over tasks; the generator is fixed, so that the same result always shows the same interval."""
    return bootstrap_interval([scores], np.random.default_rng(0), confidence=confidence)


def _optimal(fields: dict[str, Any] | None) -> OptimalReturn | None:
    if fields is None:
        return None
    per_episode = fields["per_episode"]
    return OptimalReturn(**{**fields, "per_episode": None if per_episode is None else tuple(per_episode)})
