"""The log of a run: its files, its columns and its rows."""

import csv
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

Rows = Sequence[Mapping[str, float]]
RETURN = "rollout/ep_rew_mean"
STEPS = "time/total_timesteps"  # says when a row was written

METRICS: dict[str, str] = {  # what agents log; names of Stable-Baselines3 where it has the same
    RETURN: "mean return of the episodes of the batch; of agents that adapt by gradient steps: after the last step",
    "rollout/ep_rew_mean_after_N_steps": "the same after N gradient steps in the task",
    "rollout/trial_rew_mean": "mean return of the training trials, without free episodes",
    "rollout/trial_len": "steps of a training trial",
    "train/loss": "what the outer loop minimises",
    "train/policy_gradient_loss": "clipped surrogate; while an expert is imitated: cross-entropy to its labels",
    "train/value_loss": "squared error of the critic, in units of the returns' deviation",
    "train/entropy_loss": "the mean entropy of the actions, negative",
    "train/task_loss": "minus the log-likelihood of the task by its predictor, in nats",
    "train/approx_kl": "KL divergence of the policy that collected from the policy after the update",
    "train/clip_fraction": "share of actions whose ratio PPO clips",
    "train/clip_range": "PPO's clip range",
    "train/explained_variance": "share of the returns' variance that the critic explains",
    "train/std": "mean deviation of continuous actions",
    "train/learning_rate": "step size of the optimiser",
    "train/gamma": "discount per step of a trial",
    "train/imitates": "1 while an expert is imitated",
    "train/backtracks": "how often TRPO shortened its step",
    "time/iterations": "updates so far",
    STEPS: "environment steps so far",
    "time/time_elapsed": "seconds of training in this process",
}


def is_metric(name: str) -> bool:
    """Whether `METRICS` lists the name, where N stands for any number."""
    return re.sub(r"_after_\d+_steps$", "_after_N_steps", name) in METRICS


def read_progress(path: str | Path) -> list[dict[str, float]]:
    """The rows of a progress.csv of Stable-Baselines3's logger. Cells that are not numbers are left out."""
    with open(path, newline="", encoding="utf-8") as file:
        return _numbers(file)


def _float(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def has_tensorboard() -> bool:
    """Whether the optional TensorBoard writer is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def progress_files(folder: Path) -> list[tuple[int, Path]]:
    """The progress files of a run, each with its first environment step, in order."""
    starts = ((file.stem.removeprefix("progress").lstrip("-") or "0", file) for file in folder.glob("progress*.csv"))
    return sorted((int(start), file) for start, file in starts if start.isdecimal())


def numeric_rows(file: Path) -> list[dict[str, float]]:
    """The numbers of each row of one progress file. An incomplete last line, left by a crash, is skipped.

    Raises ValueError, naming the file, if it is no table of text.
    """
    try:
        text = file.read_text(encoding="utf-8")
        return [row for row in _numbers(text[: text.rfind("\n") + 1].splitlines()) if STEPS in row]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def _numbers(lines: Iterable[str]) -> list[dict[str, float]]:
    """The cells of each row that are numbers, by column; cells beyond the last column have no name."""
    rows = csv.DictReader(lines, restkey="")
    return [{name: x for name, cell in row.items() if name and (x := _float(cell)) is not None} for row in rows]
