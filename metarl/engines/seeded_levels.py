"""Environments that draw a level at every reset: the seed of the level is the task."""

from typing import Any, final

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs, seeding


@final
class SeededLevels(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An environment whose level is `reset(options={"task": {"seed": ...}})`, the same at every soft reset of a trial.

    The seed of the reset itself starts the random stream of the dynamics, which continues through the episodes of the
    trial: only the level repeats. It suits environments that draw both from `np_random`, as gymnasium recommends.

    >>> import metarl
    >>> from metarl.priors import Integers
    >>> levels = metarl.from_gym(
    ...     lambda: SeededLevels(gymnasium.make("Acrobot-v1")),
    ...     parameters={"seed": Integers(0, 999)},
    ...     test={"seed": (1000, 1999)},
    ...     apply="reset_options",
    ...     name="acrobat-starts-v1",
    ...     show_tasks=True,
    ...     max_episode_steps=100,
    ... )
    >>> bool((levels.sample(5, metarl.seeding.generator(0))["seed"] < 1000).all())
    True
    """

    def __init__(self, env: "gymnasium.Env[Any, Any]") -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._dynamics: np.random.Generator | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = dict(options or {})
        if "task" not in options:
            raise ValueError("SeededLevels needs the level to begin: reset(options={'task': {'seed': ...}})")
        level = int(options.pop("task")["seed"])
        observation, info = self.env.reset(seed=level, options=options)
        if seed is not None or self._dynamics is None:
            self._dynamics, _ = seeding.np_random(seed)
        self.env.unwrapped.np_random = self._dynamics
        return observation, info
