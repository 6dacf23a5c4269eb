"""A step of environments that may be anybody's."""

from torch import Tensor

from metarl.foreign import told
from metarl.tasks.distribution import Step, TaskVectorEnv

TOLD = 8  # tasks that an error names


def step(env: TaskVectorEnv, actions: Tensor) -> Step:
    """`env.step(actions)`. An `exit()` inside it is a ForeignError that names the tasks."""
    try:
        return env.step(actions)
    except (SystemExit, GeneratorExit) as error:
        tasks = env.tasks[:TOLD].to_json()
        raise told(error, f"{env.distribution.name}, whose first environments are in the tasks {tasks}") from error
