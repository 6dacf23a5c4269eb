"""Speed of meta-training, end to end: rollouts, advantages and gradient steps."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, final

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

import metarl
from experiments.throughput.cartpole import check_cartpole, gym_cartpole, limited_cartpole, native_cartpole
from experiments.throughput.sizes import Sizes, Training
from experiments.timing import Row, Side, Work, clock, compare
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.imports import installation
from metarl.tasks.distribution import TaskDistribution

Kind = Literal["lstm", "gru", "transformer"]
MEMORIES: dict[str, Kind] = {"LSTM": "lstm", "GRU": "gru", "Transformer": "transformer"}
WHOLE_TRIALS: dict[str, Any] = {"imitation_fraction": 0.0, "trial_curriculum": 0.0}  # every update does the same work


def recurrent(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """RL² against sb3-contrib's RecurrentPPO on CartPole with hidden velocities, each learning from scratch.

    Same environments, width, layers, epochs and tokens per minibatch. RecurrentPPO comes as it is shipped, with an LSTM
    for the actor and another for the critic, and in its leanest form, where the critic reads the actor's without
    sending gradients into it, as RL²'s does, and the heads have RL²'s sizes. RecurrentPPO cuts its sequences where
    episodes end and steps through them in Python: it is faster while the agent knows nothing and episodes are short.
    """
    check_cartpole()
    for size in sizes.trainings:
        yield compare(f"CartPole: {size}", _sides(size, device), rounds, device)


def training(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """RL² with PPO on whole trials of grid navigation, in batches of one trial for each environment.

    The Transformer has episodic retrieval, as by default; the recurrent memories have none.
    """
    distribution = metarl.make("grid-navigation")
    batch_steps = sizes.grid_envs * distribution.horizon * distribution.num_episodes

    def prepared(memory: Kind) -> Work:
        options = RL2Options(
            memory=memory, episodic_retrieval=memory == "transformer", batch_steps=batch_steps, **WHOLE_TRIALS
        )
        return _learning(RL2(distribution, options, device=device), sizes.grid_updates * batch_steps)

    sides = [Side(f"RL², {name}", partial(prepared, memory)) for name, memory in MEMORIES.items()]
    yield compare(f"training: grid navigation, {sizes.grid_envs} environments", sides, rounds, device)


def bandit(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Seconds of meta-training until the bandit of 5 arms and 10 pulls is within 1 % of its optimum, once per seed."""
    title = f"bandit: until {sizes.bandit_share:.0%} of the optimum"
    values: dict[str, list[float]] = {"RL², GRU": []}
    for seed in range(rounds):
        agent = RL2(metarl.make("bernoulli-bandit"), RL2Options(memory="gru"), seed=seed, device=device)
        watch = Watch(agent, sizes)
        agent.learn(sizes.bandit_steps, watch)
        if watch.seconds is None:
            raise RuntimeError(f"{title}: not reached in {agent.num_timesteps} steps with seed {seed}")
        values["RL², GRU"].append(watch.seconds)
    yield Row(title, "s", values)


@final
class Watch(BaseCallback):
    """Stops training once unseen tasks go well enough; `seconds` is the time until then, measuring not counted."""

    def __init__(self, agent: RL2, sizes: Sizes) -> None:
        super().__init__()
        self.seconds: float | None = None
        self._agent = agent
        self._sizes = sizes
        self._spent = 0.0
        self._since = clock(agent.device)

    def _on_step(self) -> bool:
        return self.seconds is None

    def _on_rollout_end(self) -> None:
        if self._agent.updates % self._sizes.bandit_updates or self.seconds is not None:
            return
        self._spent += clock(self._agent.device) - self._since
        if self._reached():
            self.seconds = self._spent
        self._since = clock(self._agent.device)

    def _reached(self) -> bool:
        test, tasks = self._agent.distribution.split("test"), self._sizes.bandit_tasks
        result = metarl.evaluate(self._agent.policy(tasks), test, tasks)
        assert result.optimal is not None
        return bool(result.totals.mean() >= self._sizes.bandit_share * result.optimal.total)


def _sides(size: Training, device: torch.device) -> list[Side]:
    gym, native = (make(size.steps, size.falls) for make in (gym_cartpole, native_cartpole))
    lean = {
        "shared_lstm": True,
        "enable_critic_lstm": False,
        "net_arch": {"pi": [], "vf": [size.width, size.width]},
    }
    return [
        Side("RecurrentPPO", partial(_recurrent_ppo, size, device, {}), reference=True),
        Side("RecurrentPPO, one LSTM", partial(_recurrent_ppo, size, device, lean), reference=True),
        *(Side(f"RL², {name}", partial(_rl2, size, gym, memory, device)) for name, memory in MEMORIES.items()),
        Side("RL², LSTM, native environments", partial(_rl2, size, native, "lstm", device)),
    ]


def _rl2(size: Training, distribution: TaskDistribution, memory: Kind, device: torch.device) -> Work:
    options = RL2Options(
        memory=memory,
        width=size.width,
        num_layers=1,
        episodic_retrieval=False,
        privileged_critic=False,
        batch_steps=size.envs * size.steps,
        num_minibatches=size.minibatches,
        n_epochs=size.epochs,
        critic_epochs=0,  # as its rival
        **WHOLE_TRIALS,
    )
    return _learning(RL2(distribution, options, device=device), size.updates * options.batch_steps)


def _recurrent_ppo(size: Training, device: torch.device, policy: dict[str, Any]) -> Work:
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError as error:
        raise ImportError(f"this benchmark needs sb3-contrib: {installation('benchmark')}") from error
    agent = RecurrentPPO(
        "MlpLstmPolicy",
        DummyVecEnv([partial(limited_cartpole, size.steps, size.falls)] * size.envs),
        n_steps=size.steps,
        batch_size=size.envs * size.steps // size.minibatches,
        n_epochs=size.epochs,
        policy_kwargs={"lstm_hidden_size": size.width, **policy},
        device=device,
    )
    return _learning(agent, size.updates * size.envs * size.steps)


def _learning(agent: Any, steps: int) -> Work:
    def work() -> int:
        agent.learn(steps)
        return int(agent.num_timesteps)

    return work
