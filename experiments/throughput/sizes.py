"""How large the throughput benchmarks are."""

from dataclasses import dataclass, replace
from typing import final


@final
@dataclass(frozen=True)
class Training:
    """One size of PPO, the same on both sides: tokens per minibatch are envs * steps / minibatches."""

    envs: int = 16
    steps: int = 128  # collected in each environment for an update, and an episode's time limit
    minibatches: int = 4
    epochs: int = 4
    width: int = 64
    updates: int = 6  # timed in one round
    falls: bool = True  # False: every episode lasts to the time limit, as those of a trained agent do

    def __str__(self) -> str:
        tokens = self.envs * self.steps // self.minibatches
        episodes = "short episodes" if self.falls else "episodes to the time limit"
        return f"width {self.width}, {self.epochs} epochs, {tokens} tokens per minibatch, {self.envs} envs, {episodes}"


@final
@dataclass(frozen=True)
class Sizes:
    """Everything that makes the benchmarks take their time."""

    native_envs: int = 1024
    single_envs: int = 16  # in gymnasium's SyncVectorEnv
    env_steps: int = 300

    contexts: tuple[int, ...] = (100, 500)
    attention_trials: int = 256
    attention_width: int = 64
    recomputed: int = 10  # steps, evenly spaced in the context, at which recomputation is timed

    trainings: tuple[Training, ...] = (
        Training(),
        Training(falls=False),
        Training(envs=8, minibatches=8, epochs=10, width=256, updates=2),  # RecurrentPPO's own defaults
    )

    grid_envs: int = 1024
    grid_steps: int = 600
    grid_updates: int = 2

    bandit_steps: int = 1_500_000  # of meta-training at most; the learning rate falls to zero until then
    bandit_share: float = 0.99  # of the optimum, to be reached
    bandit_tasks: int = 20_000  # to measure on, after every `bandit_updates`
    bandit_updates: int = 1

    meta_tasks: int = 20
    meta_rollouts: int = 20

    robots: int = 128
    robot_steps: int = 200
    training_robots: int = 64
    training_steps: int = 16_384  # collected for an update


CPU = Sizes()
CUDA = replace(CPU, native_envs=65_536, grid_envs=65_536)
TINY = Sizes(
    native_envs=8,
    single_envs=2,
    env_steps=4,
    contexts=(12,),
    attention_trials=3,
    attention_width=16,
    recomputed=2,
    trainings=(Training(envs=4, steps=8, minibatches=2, epochs=1, width=16, updates=1),),
    grid_envs=8,
    grid_steps=20,
    grid_updates=1,
    bandit_steps=2000,
    bandit_share=0.5,
    bandit_tasks=50,
    meta_tasks=2,
    meta_rollouts=2,
    robots=2,
    robot_steps=3,
    training_robots=2,
    training_steps=800,
)
