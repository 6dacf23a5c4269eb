"""Fine-tuning: the baseline that a claim of fast adaptation is measured against, with Stable-Baselines3's PPO."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecMonitor
from torch import Tensor

from metarl import seeding
from metarl.adaptation.stacked import Stacked
from metarl.agents.sb3.fine_tuned_policy import FineTunedPolicy, Tuning, learner_state, load_learner_state
from metarl.sb3.task_vec_env import TaskVecEnv
from metarl.seeding import borrowed_randomness
from metarl.spaces import is_plain, kinds
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv
from metarl.training.agent import Agent
from metarl.training.checkpoints import check_tensors
from metarl.training.options import AgentOptions, Count, Fraction, NonNegative, NonNegativeInt, Positive
from metarl.trials.context import Context

HEAD = ("action_net.", "log_std", "value_net.")  # the last layers of actor and critic


@dataclass(frozen=True)
class FineTuningOptions(AgentOptions):
    """Options of fine-tuning. All other settings are Stable-Baselines3's defaults.

    >>> FineTuningOptions(updates_per_trial=5).updates_per_trial
    5

    Raises ValueError for a value outside its bounds, and for `batch_steps` below 2 for each minibatch.
    """

    pretrained: bool = True
    """Start each task from a network pre-trained on all tasks; if not, from a random one (then train for one step)."""
    adapted_parameters: Literal["all", "head"] = "all"
    """What adapts inside a task: all parameters, or the last layers of actor and critic only."""
    episodes_per_update: Count = 40
    """Episodes in a task before each PPO update."""
    updates_per_trial: NonNegativeInt = 3
    """PPO updates in a trial; after them the policy stays fixed."""
    adaptation_rate: Positive = 3e-3
    """Adam's step size inside a task."""
    width: Count = 64
    """Width of the hidden layers of actor and critic."""
    num_layers: Count = 2
    """Hidden layers of actor and critic."""
    num_tasks: Count = 40
    """Environments in pre-training, each in a new task at every episode."""
    batch_steps: Count = 20_000
    """Environment steps collected for each update in pre-training."""
    learning_rate: Positive = 1e-3
    """Adam's step size in pre-training."""
    n_epochs: Count = 10
    """Passes over the collected steps in each update."""
    num_minibatches: Count = 8
    """Minibatches in each pass, one gradient step each."""
    gamma: Fraction = 0.99
    """Discount per step."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: Positive = 0.2
    """PPO's clip range."""
    ent_coef: NonNegative = 0.0
    """Weight of the entropy bonus."""
    log_std_init: float = -0.5
    """Continuous actions: log of the standard deviation at the start, in units of half the action space."""

    def check(self) -> None:
        if self.batch_steps < 2 * self.num_minibatches:
            raise ValueError(f"batch_steps must be at least 2 for each minibatch, got {self.batch_steps}")


@final
class FineTuning(Agent):
    """PPO of Stable-Baselines3, pre-trained on all tasks and fine-tuned in each; or trained in each from scratch.

    >>> import metarl
    >>> agent = FineTuning(metarl.make("grid-navigation"), FineTuningOptions(batch_steps=1000), device="cpu")
    >>> agent.learn(2000).policy(num_tasks=3).act(torch.zeros(3, dtype=torch.int64)).shape
    torch.Size([3])

    Raises ValueError where actions are those of a Box that is not bounded.
    """

    Options = FineTuningOptions
    options: FineTuningOptions
    for_less_memory = "lower batch_steps, raise num_minibatches, or lower num_tasks or width"

    def __init__(
        self,
        distribution: TaskDistribution,
        options: FineTuningOptions | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "auto",
    ) -> None:
        super().__init__(distribution, options, seed=seed, device=device)
        _check_actions(distribution)
        self._pool = TaskVecEnv(distribution, self.options.num_tasks, device=self.device)
        self.model = self._ppo(self._pool, self.options.batch_steps, self.options.learning_rate)

    @property
    def trial_episodes(self) -> int:
        """Episodes of all updates, and as many again after the last one."""
        return self.options.episodes_per_update * (self.options.updates_per_trial + 1)

    def policy(self, num_tasks: int, deterministic: bool | None = None, seed: int = 0) -> FineTunedPolicy:
        """A policy whose tasks start with the current parameters and a new optimiser; `deterministic=None` means True.

        Before the last update of a trial it draws its actions, even if it is deterministic.
        """
        options = self.options
        idle = TaskVecEnv(self.distribution, 1, device=self.device)  # says what the spaces are; never opened
        model = self._ppo(idle, 2 * options.num_minibatches, options.adaptation_rate)
        if options.adapted_parameters == "head":
            for name, parameter in model.policy.named_parameters():
                parameter.requires_grad_(name.startswith(HEAD))
        tuning = Tuning(
            self.distribution,
            model,
            options.episodes_per_update,
            options.updates_per_trial,
            options.num_minibatches,
            deterministic is not False,
            seed,
        )
        return FineTunedPolicy(tuning, self._initial(model, num_tasks, seed))

    def attention_weights(self, context: Context) -> Tensor | None:
        return None

    def _open_env(self) -> TaskVectorEnv:
        return self._pool.engine

    def train_step(self, fraction_done: float, on_step: Callable[[TaskVectorEnv], None]) -> dict[str, float]:
        """One rollout in new tasks and one PPO update, from random streams of their own: nothing else carries over."""
        self._pool.seed(seeding.stream_seed(self.seed, "environment", self.updates))
        steps = self.model.n_steps * self.model.n_envs
        with borrowed_randomness(seeding.stream_seed(self.seed, "pre-training", self.updates)):
            callback = _OnStep(lambda: on_step(self._pool.engine))
            self.model.learn(steps, callback, log_interval=2)  # of one iteration: it logs nothing of its own
        logged = self.model.logger.name_to_value
        episodes = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        metrics = {name: float(value) for name, value in logged.items() if name != "train/n_updates"}
        return {**({"rollout/ep_rew_mean": float(np.mean(episodes))} if episodes else {}), **metrics}

    def state(self) -> dict[str, Tensor]:
        return learner_state(self.model.policy)

    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        check_tensors(source, state, self.state())
        load_learner_state(self.model.policy, dict(state))

    def _initial(self, model: PPO, num_tasks: int, seed: int) -> Stacked:
        """What each task starts from `[num_tasks, ...]`: the pre-trained network, or a random one of its own."""
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be at least 1, got {num_tasks}")
        if self.options.pretrained:
            model.policy.load_state_dict(self.model.policy.state_dict())
            return {name: x.clone().expand(num_tasks, *x.shape) for name, x in learner_state(model.policy).items()}
        states = [learner_state(_random_network(model, seed, slot)) for slot in range(num_tasks)]
        return {name: torch.stack([state[name] for state in states]) for name in states[0]}

    def _ppo(self, env: TaskVecEnv, steps: int, learning_rate: float) -> PPO:
        """A new PPO that collects at least `steps` steps of `env` for each update, in minibatches of one size."""
        options = self.options
        share = options.num_minibatches // math.gcd(options.num_minibatches, env.num_envs)
        n_steps = -(-steps // (env.num_envs * share)) * share
        with borrowed_randomness(seeding.stream_seed(self.seed, "parameters")), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are trying to run PPO on the GPU")  # the user chose the device
            model = PPO(
                "MlpPolicy",
                VecMonitor(env),
                learning_rate=learning_rate,
                n_steps=n_steps,
                batch_size=n_steps * env.num_envs // options.num_minibatches,
                n_epochs=options.n_epochs,
                gamma=options.gamma,
                gae_lambda=options.gae_lambda,
                clip_range=options.clip_range,
                ent_coef=options.ent_coef,
                policy_kwargs={
                    "net_arch": [options.width] * options.num_layers,
                    "log_std_init": options.log_std_init,
                    "optimizer_kwargs": {"eps": 1e-5, "fused": True},
                },
                device=self.device,
            )
        model.set_logger(Logger(None, []))
        return model


@final
class _OnStep(BaseCallback):
    """Calls a function after every step of a rollout; where it should stop is not its to say."""

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self._function = function

    def _on_step(self) -> bool:
        self._function()
        return True


def _random_network(model: PPO, seed: int, slot: int) -> ActorCriticPolicy:
    """A network like the model's, with random parameters of its own."""
    with borrowed_randomness(seeding.stream_seed(seed, "parameters", slot)):
        network = model.policy_class(
            model.observation_space, model.action_space, model.lr_schedule, **model.policy_kwargs
        )
    assert isinstance(network, ActorCriticPolicy)  # what MlpPolicy stands for
    return network.to(model.device)


def _check_actions(distribution: TaskDistribution) -> None:
    space = distribution.action_space
    if isinstance(space, spaces.Box) and not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"PPO of Stable-Baselines3 takes a Box only if it is bounded; {distribution.name} has {space}")
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary) and len(space.shape) != 1:
        raise ValueError(
            f"PPO of Stable-Baselines3 takes a flat {type(space).__name__}; {distribution.name} has {space}"
        )
    if not is_plain(space, "action"):
        raise ValueError(f"PPO of Stable-Baselines3 takes {kinds('action')} actions; {distribution.name} has {space}")
