"""Run folders: settings, log and last checkpoint of a run, which are enough to resume it exactly.

```
runs/rl2-grid-navigation-seed0/
    config.json               agent, task distribution, options, seed, steps and versions
    progress.csv              one row per update; a run resumed at step 800 goes on in progress-800.csv
    checkpoint.safetensors    the last checkpoint, always whole
    events.out.tfevents...    the same rows for TensorBoard, where it is installed
```
"""

import importlib.util
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import torch
from stable_baselines3.common.logger import Logger, make_output_format

from metarl.files import leftovers, write_atomically
from metarl.registry import build, plain_options
from metarl.tasks.distribution import TaskDistribution
from metarl.training.agent import Agent
from metarl.training.checkpoints import load_checkpoint
from metarl.training.description import differences, flattened, read_description, read_field
from metarl.training.logs import STEPS, has_tensorboard, numeric_rows, progress_files

CONFIG = "config.json"
CHECKPOINT = "checkpoint.safetensors"


def versions() -> dict[str, str]:
    """Versions of what can change a run's numbers."""
    packages = ("metarl-toolkit", "torch", "numpy", "gymnasium", "stable-baselines3")
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # metarl itself, in a checkout that nobody installed
        return "not installed"


@final
@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run, as `config.json` keeps it."""

    agent: str
    """Name of the agent, or `module:Class`."""
    distribution: str
    """Name of the task distribution, or `module:attribute`, as `metarl.make` takes it."""
    distribution_options: Mapping[str, Any]
    """Options given to `metarl.make`."""
    seed: int
    """The one seed of every random stream."""
    total_timesteps: int
    """Environment steps, summed over all environments, after which the run is complete."""
    options: Mapping[str, Any]
    """The agent's options, all of them."""
    teaching: Mapping[str, Any] = field(default_factory=dict)
    """What the agent learns from besides the reward, as in `metarl.training.teaching.Teaching`; empty: not recorded."""
    versions: Mapping[str, str] = field(default_factory=versions)
    """Versions of Python and the libraries at the start."""
    processes: int = 1
    """Processes that train together, each with random streams of its own."""
    ranges: Mapping[str, Any] = field(default_factory=dict)
    """What the distribution draws its tasks from, as in `metarl.training.description.ranges`; empty: not recorded."""
    threads: int = field(default_factory=torch.get_num_threads)
    """Threads of torch at the start, on which the last bits of a sum depend; 0: not recorded."""

    @classmethod
    def from_json(cls, values: Any, source: str) -> "RunConfig":
        """The inverse of `to_json`. Raises ValueError, naming `source` and the field, for what no run has written."""
        if not isinstance(values, dict):
            raise ValueError(f"{source} is damaged: it must hold names with values, got {values!r:.60}")
        for name, kind in KEPT.items():
            if name in REQUIRED or name in values:
                read_field(values, name, kind, source)
        try:
            return cls(**{"threads": 0, **values})
        except TypeError as error:
            raise ValueError(f"{source} is damaged: {error}") from error

    def make_distribution(self, trust: bool = False) -> TaskDistribution:
        """The task distribution that the run trains on.

        ValueError where it is `module:attribute` that is not registered, unless you `trust` it: importing runs code.
        """
        options = plain_options(self.distribution_options, CONFIG)
        return build(self.distribution, options, None if trust else CONFIG)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON gives it back: tuples have become lists."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def setting(self) -> dict[str, Any]:
        """All that was asked for but the seed, nested names joined by dots: equal for two seeds of one setting."""
        left_out = ("seed", "teaching", "versions", "ranges", "threads")
        return {name: v for name, v in flattened(self.to_json()).items() if name.partition(".")[0] not in left_out}

    def differences(self, other: "RunConfig") -> list[str]:
        """What makes `other` another run, one entry each; more steps and newer versions do not."""
        mine, theirs = {**self.setting(), "seed": self.seed}, {**other.setting(), "seed": other.seed}
        for name in ("teaching", "ranges"):  # of runs that recorded them
            if getattr(self, name) and getattr(other, name):
                mine |= flattened(getattr(self, name), f"{name}.")
                theirs |= flattened(getattr(other, name), f"{name}.")
        names = [name for name in mine | theirs if name != "total_timesteps" and mine.get(name) != theirs.get(name)]
        return [f"{name} {mine.get(name)!r}, not {theirs.get(name)!r}" for name in names]


REQUIRED = {
    "agent": str,
    "distribution": str,
    "distribution_options": dict,
    "seed": int,
    "total_timesteps": int,
    "options": dict,
}
KEPT = {**REQUIRED, "teaching": dict, "versions": dict, "processes": int, "ranges": dict, "threads": int}


@final
class Run:
    """A run folder at `path`; `create` starts one, `open` reads one.

    >>> import tempfile
    >>> config = RunConfig("rl2", "bernoulli-bandit", {"arms": 3}, seed=0, total_timesteps=1000, options={})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Run.create(folder, config).path
    ...     Run.open(path).config.distribution_options
    {'arms': 3}
    """

    def __init__(self, path: str | Path, config: RunConfig) -> None:
        self.path = Path(path)
        self.config = config

    @classmethod
    def create(cls, path: str | Path, config: RunConfig) -> "Run":
        """A new run; ValueError if something is there already, OSError if the folder cannot be written."""
        folder = Path(path)
        if (folder / CONFIG).exists():
            raise ValueError(f"{folder} already holds a run: go on with --resume, or choose another --run-dir")
        if folder.exists() and set(folder.iterdir()) - set(leftovers(folder)):  # of one killed before its config
            raise ValueError(f"{folder} is not empty and not a run: choose another --run-dir")
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, config)
        run._write_config()
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run in a folder; ValueError if there is none or its config.json is damaged."""
        file = Path(path) / CONFIG
        if not file.is_file():
            raise ValueError(f"{path} is not a run folder: it has no {CONFIG}")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} is damaged: {error}") from error
        return cls(path, RunConfig.from_json(values, str(file)))

    @classmethod
    def resume(cls, path: str | Path, config: RunConfig, family: str | None = None) -> "Run":
        """The run in a folder, to go on to `config.total_timesteps`; ValueError if `config` is that of another run.

        `family` is the versioned name of its task distribution: the same family may stand in a module with a new name.
        """
        if not (Path(path) / CONFIG).is_file():
            raise ValueError(f"{path} is not a run folder: it has no {CONFIG}; a new run starts without --resume")
        run = cls.open(path)
        if run.config.distribution != config.distribution and family is not None and family == run.family():
            run.config = replace(run.config, distribution=config.distribution)
        if different := run.config.differences(config):
            raise ValueError(
                f"{path} is another run ({'; '.join(different)}): repeat its own command with --resume, "
                "or choose another --run-dir"
            )
        run.config = replace(run.config, total_timesteps=config.total_timesteps)
        run._write_config()
        return run

    @property
    def checkpoint(self) -> Path:
        """Where the last checkpoint is, once there is one."""
        return self.path / CHECKPOINT

    def family(self) -> str | None:
        """The versioned name of the task distribution in the last checkpoint; None where there is no checkpoint."""
        if not self.checkpoint.exists():
            return None
        _, values = load_checkpoint(self.checkpoint)
        description = read_description(values, str(self.checkpoint))
        return str(description.distribution["name"])

    def check_checkpoint(self) -> None:
        """Raise ValueError unless config.json is that of the checkpoint, as far as both say something.

        The checkpoint has a checksum. A config.json that was damaged or edited has none, and could ask for anything.
        """
        if not self.checkpoint.exists():
            raise ValueError(f"{self.path} has no checkpoint yet: train it further with --resume")
        said, config = load_checkpoint(self.checkpoint)[1], self.config
        read_description(said, str(self.checkpoint))
        pairs = {
            "options": (said["options"], config.options),
            "distribution_options": (said["distribution"].get("options") or {}, config.distribution_options),
            "ranges": (said.get("ranges", {}), config.ranges),
        }
        kept = {name: {key: one[key] for key in one if key in other} for name, (one, other) in pairs.items()}
        mine = {name: {key: other[key] for key in other if key in one} for name, (one, other) in pairs.items()}
        different = differences({"seed": said["seed"], **kept}, {"seed": config.seed, **mine})
        if different:
            raise ValueError(f"{self.path / CONFIG} is not that of its checkpoint: {'; '.join(different)}")

    def evaluation(self, split: str) -> Path:
        """Where the evaluation of the last checkpoint on a split is, once it was made."""
        return self.path / f"evaluation-{split}.json"

    def logger(self, steps: int) -> Logger:
        """Stable-Baselines3's logger into this folder for a run that stands at `steps`; it never truncates old rows."""
        for start, file in progress_files(self.path):
            if start > 0 and start >= steps:
                file.unlink()  # written after this checkpoint: the run passes here again
        suffix = f"-{steps}" if steps else ""
        formats = [make_output_format("csv", str(self.path), suffix)]
        if has_tensorboard():
            formats.append(make_output_format("tensorboard", str(self.path)))
        return Logger(str(self.path), formats)

    def log(self) -> list[dict[str, float]]:
        """The rows of all progress files in order, each step once: what a crash undid is left out."""
        files = progress_files(self.path)
        ends = [start for start, _ in files[1:]] + [sys.maxsize]
        return [
            row for (_, file), end in zip(files, ends, strict=False) for row in numeric_rows(file) if row[STEPS] <= end
        ]

    def training_seconds(self) -> float:
        """Time spent training, over all the sessions of the run: each counts from zero."""
        elapsed = [row["time/time_elapsed"] for row in self.log() if "time/time_elapsed" in row]
        return sum(before for before, after in pairwise([*elapsed, 0.0]) if after < before)

    def _write_config(self) -> None:
        write_atomically(self.path / CONFIG, json.dumps(self.config.to_json(), indent=2) + "\n")


def load(
    path: str | Path,
    device: torch.device | str = "auto",
    distribution: TaskDistribution | None = None,
    trust: bool = False,
) -> Agent:
    """The agent in a checkpoint file, or in the last checkpoint of a run folder.

    `distribution` must be given if a checkpoint file cannot make its task distribution again from a registered name and
    plain options. A run folder keeps the `module:attribute` of its own.
    Files are data. Importing an unregistered `module:attribute` that a file names runs code, so it needs `trust`.

    >>> import metarl, tempfile
    >>> from metarl.agents import RL2, RL2Options
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     agent = RL2(metarl.make("grid-navigation"), RL2Options(memory="gru"), device="cpu")
    ...     agent.save(f"{folder}/rooms.safetensors")
    ...     load(f"{folder}/rooms.safetensors", device="cpu").options.memory
    'gru'

    Raises ValueError if there is no checkpoint, if it is damaged, or if it needs `trust`.
    """
    if not Path(path).is_dir():
        return Agent.load(path, device, distribution, trust)
    run = Run.open(path)
    run.check_checkpoint()
    return Agent.load(run.checkpoint, device, distribution or run.config.make_distribution(trust), trust)
