"""RL² (Duan et al. 2016, arXiv 1611.02779): a policy with memory, meta-trained with PPO over whole trials."""

import math
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl import distributed, seeding
from metarl.agents.in_context.captured_rollout import CapturedRollout
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.policy import InContextPolicy
from metarl.agents.outer_loop.expert_labels import ExpertLabels
from metarl.agents.outer_loop.trial_ppo import TrialPPO
from metarl.engines.native import NativeVectorEnv
from metarl.functional.returns import counted_rewards, trial_time
from metarl.functional.schedules import decay_after, effective_horizon, gamma_of_horizon, growing_steps, linear_decay
from metarl.nn.actor import Actor
from metarl.nn.critic import TrialCritic
from metarl.nn.memory import Memory
from metarl.nn.recurrent import RecurrentMemory
from metarl.nn.retrieval import Retrieval
from metarl.nn.task_predictor import TaskPredictor
from metarl.nn.transformer import TransformerMemory
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv
from metarl.training.agent import Agent
from metarl.training.checkpoints import check_tensors, pack, unpack
from metarl.training.teaching import Teaching
from metarl.trials.context import Context
from metarl.trials.player import trial_length
from metarl.trials.rollouts import collect
from metarl.trials.trajectories import Trajectories

__all__ = ["RL2", "RL2Options"]
SHORTEST_TRIAL = 10  # steps of the first training trials, unless an episode is longer


@final
class RL2(Agent):
    """RL²: a Transformer, GRU or LSTM reads the trial so far and acts; PPO over whole trials trains it across tasks.

    >>> import metarl
    >>> agent = RL2(metarl.make("bernoulli-bandit"), RL2Options(memory="gru", batch_steps=100), device="cpu")
    >>> agent.learn(200).policy(num_tasks=3).act(torch.zeros(3, 1)).shape
    torch.Size([3])
    """

    Options = RL2Options
    options: RL2Options
    several_processes = True
    task_tensors = ("critic.task", "predictor.")
    for_less_memory = "lower batch_steps, raise num_minibatches, or lower width or bptt_steps"

    def __init__(
        self,
        distribution: TaskDistribution,
        options: RL2Options | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "auto",
    ) -> None:
        super().__init__(distribution, options, seed=seed, device=device)
        self.trial_steps = self.trial_episodes * distribution.horizon
        self._episode_steps: float = distribution.horizon  # mean length of an episode in the last batch
        self._free_episodes = max(distribution.free_episodes, self.options.unrewarded_episodes)
        if self._free_episodes >= self.trial_episodes:
            raise ValueError(
                f"unrewarded_episodes must be fewer than the {self.trial_episodes} episodes of a trial, "
                f"or none counts; got {self._free_episodes}"
            )
        self.teaching = _teaching(distribution, self.options)
        self._has_expert = self.teaching.expert is not None
        with seeding.initialising(seeding.stream_seed(seed, "parameters")):
            self.actor = _actor(distribution, self.options, self.trial_steps)
            self.critic = _critic(distribution, self.options, seeding.generator(seed, "task scale"))
            self.predictor = _predictor(distribution, self.options)
        self.actor.to(self.device)
        self.critic.to(self.device)
        if self.predictor is not None:
            self.predictor.to(self.device)
        lengths = distribution.horizon, self.trial_steps, self._free_episodes
        self._ppo = TrialPPO(self.actor, self.critic, self.options, *lengths, self.predictor)
        self._rollout: tuple[object, CapturedRollout] | None = None  # its settings come first

    @property
    def trial_episodes(self) -> int:
        return trial_length(self.distribution, self.options.num_episodes)

    def policy(self, num_tasks: int, deterministic: bool | None = None, seed: int = 0) -> InContextPolicy:
        """The trained policy at the start of a trial in each of `num_tasks` tasks.

        With `deterministic=None` continuous actions are drawn, and discrete ones are the most likely.
        Without noise, continuous actions lead to trials unlike those of training, which the memory does not know: on
        Meta-World's reach, after 3 M steps, drawn actions solve 95 % of the layouts, the most likely ones 28 %.
        """
        if deterministic is None:
            deterministic = not isinstance(self.distribution.action_space, spaces.Box)
        return InContextPolicy(self.actor, num_tasks, deterministic, seed)

    def attention_weights(self, context: Context) -> Tensor | None:
        return self.actor.attention_weights(context)

    def train_step(self, fraction_done: float, on_step: Callable[[TaskVectorEnv], None]) -> dict[str, float]:
        steps = self._trial_steps(fraction_done)
        gamma = self._gamma(steps)
        trajectories, expert_labels = self._collect(steps, fraction_done, on_step)
        information = self.options.information_bonus * decay_after(self.options.trial_curriculum, fraction_done)
        batch, explained = self._ppo.prepare_batch(trajectories, expert_labels, gamma, steps, information)
        rate = self.options.learning_rate * linear_decay(fraction_done, self.options.warmup)
        entropy = self.options.ent_coef * linear_decay(fraction_done) if expert_labels is None else 0.0
        losses = self._ppo.update(batch, rate, entropy, self._stream("minibatches"))
        if not all(map(math.isfinite, losses)):
            largest = trajectories.rewards.abs().max().item()
            raise FloatingPointError(
                f"update {self.updates}: losses are not finite: {losses}; the largest reward was {largest:g} in size"
            )
        self.actor.update_statistics(trajectories)
        self.critic.observation.update_statistics(trajectories.observations)
        episodes = int(distributed.total(trajectories.dones.sum()))
        self._episode_steps = distributed.size() * trajectories.rewards.numel() / max(1, episodes)
        return {
            "rollout/ep_rew_mean": trajectories.mean_episode_return(),
            "rollout/trial_rew_mean": self._counted(trajectories, steps).sum(1).mean().item(),
            "rollout/trial_len": trajectories.num_steps,
            "train/explained_variance": explained,
            "train/imitates": float(expert_labels is not None),
            "train/learning_rate": rate,
            "train/gamma": gamma,
            **losses.metrics(),
        }

    def state(self) -> dict[str, Tensor]:
        modules = pack(**self._modules())
        episode_steps = torch.tensor(self._episode_steps, dtype=torch.float64)
        return modules | {"episode_steps": episode_steps} | self._ppo.state()

    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        check_tensors(source, state, self.state())
        if state["episode_steps"] < 1:
            raise ValueError(f"{source}: episode_steps must be at least 1, got {state['episode_steps']:g}")
        unpack(state, **self._modules())
        self._episode_steps = state["episode_steps"].item()
        self._ppo.load_state(state)
        self._rollout = None

    def _modules(self) -> dict[str, nn.Module]:
        """What is learned, by the names in checkpoints."""
        modules: dict[str, nn.Module] = {"actor": self.actor, "critic": self.critic}
        return modules if self.predictor is None else modules | {"predictor": self.predictor}

    def _collect(
        self, trial_steps: int, fraction_done: float, on_step: Callable[[TaskVectorEnv], None]
    ) -> tuple[Trajectories, Tensor | None]:
        """This process's share of a batch of trials in new tasks, and the expert labels while they are imitated."""
        steps = self._steps_needed(trial_steps)
        env, rounds = self._opened(steps), self._rounds(steps)[1]
        imitates = self._has_expert and fraction_done < self.options.imitation_fraction
        tasks = self.distribution.sample(rounds * env.num_envs, self._stream("tasks"))
        size = env.num_envs
        groups = [tasks] if rounds == 1 else [tasks[size * i : size * (i + 1)] for i in range(rounds)]
        played = [self._play(env, group, steps, imitates, on_step, number) for number, group in enumerate(groups)]
        labels = [each for _, each in played if each is not None]
        return Trajectories.joined([each for each, _ in played]), torch.cat(labels) if labels else None

    def _play(
        self,
        env: TaskVectorEnv,
        tasks: Tasks,
        steps: int,
        imitates: bool,
        on_step: Callable[[TaskVectorEnv], None],
        number: int,
    ) -> tuple[Trajectories, Tensor | None]:
        """A trial in each environment, and its expert labels; `number` counts the rounds of a batch."""
        later = (number,) if number else ()
        action_seed, seed = self._stream_seed("act", *later), self._stream_seed("environment", *later)
        if self._ppo.graphs and isinstance(env, NativeVectorEnv):
            played = self._captured_rollout(env, steps, imitates)(tasks, action_seed, seed)
            for _ in range(steps):
                on_step(env)
            return played
        env.set_tasks(tasks)
        policy = self.policy(env.num_envs, deterministic=False, seed=action_seed)
        if not imitates:
            return collect(policy, env, steps, seed=seed, on_step=lambda: on_step(env)), None
        taught = ExpertLabels(policy, self.distribution.expert(env.num_envs, self.device), tasks)
        trajectories = collect(taught, env, steps, seed=seed, on_step=lambda: on_step(env))
        return trajectories, taught.expert_labels(self.options.imitation_temperature)

    def _opened(self, steps: int) -> TaskVectorEnv:
        """The environments for a batch of rows of `steps` steps."""
        num_envs, _ = self._rounds(steps)
        if self._env is None:
            self._env = self.distribution.vector_env(num_envs, self.device)
        elif self._env.num_envs != num_envs:
            self._env = self._env.resized(num_envs)
        return self._env

    def _open_env(self) -> TaskVectorEnv:
        return self._opened(self._steps_needed(self._trial_steps(0.0)))

    def _rounds(self, steps: int) -> tuple[int, int]:
        """How many environments, and how many trials of `steps` steps each of them plays for a batch."""
        options, share = self.options, distributed.size()
        fitting = -(-(options.batch_steps // steps) // share)
        most = 2 * max(options.batch_steps // share, steps) // steps  # where minibatches ask for more trials
        trials = max(fitting, min(options.num_minibatches, most))
        limit = self.distribution.most_envs if options.num_envs is None else options.num_envs
        rounds = 1 if limit is None else -(-trials // limit)
        return -(-trials // rounds), rounds

    def _captured_rollout(self, env: NativeVectorEnv, steps: int, imitates: bool) -> CapturedRollout:
        """The rollout graph of the last update if its settings are the same, else a new one."""
        made_for = (env, steps, imitates)
        if self._rollout is None or self._rollout[0] != made_for:
            self._rollout = None  # first, so that its memory is free
            expert = self.distribution.expert(env.num_envs, self.device) if imitates else None
            learner = self.policy(env.num_envs, deterministic=False)
            temperature = self.options.imitation_temperature
            self._rollout = made_for, CapturedRollout(learner, expert, temperature, env, steps)
        return self._rollout[1]

    def _trial_steps(self, fraction_done: float) -> int:
        """Steps of a training trial: all from the start if there is an expert, else few at first."""
        if self._has_expert:
            return self.trial_steps
        first = max((self._free_episodes + 1) * self.distribution.horizon, SHORTEST_TRIAL)
        return growing_steps(fraction_done, self.trial_steps, first, self.options.trial_curriculum)

    def _counted(self, trajectories: Trajectories, steps: int) -> Tensor:
        """Rewards `[B, T]` without those of free episodes."""
        horizon, free = self.distribution.horizon, self.distribution.free_episodes
        return counted_rewards(trajectories.rewards, trial_time(trajectories.dones, horizon, steps)[0], horizon, free)

    def _steps_needed(self, trial_steps: int) -> int:
        """Steps of a row: as many as the episodes of such a trial recently took, in doublings of the horizon.

        Longer rows would repeat the trial in the same task, with fewer tasks in a batch.
        With an expert, rows have all steps of the trial.
        """
        if self._has_expert:
            return trial_steps
        horizon = self.distribution.horizon
        needed = trial_steps / horizon * self._episode_steps
        return min(trial_steps, horizon << max(0, math.ceil(math.log2(needed / horizon))))

    def _gamma(self, steps: int) -> float:
        """The discount per step in trials of `steps` steps."""
        if self.options.gamma is not None:
            return self.options.gamma
        return gamma_of_horizon(effective_horizon(steps, self.trial_steps, self.options.batch_steps))


def _teaching(distribution: TaskDistribution, options: RL2Options) -> Teaching:
    expert = distribution.expert(1) if options.imitation_fraction > 0 else None
    if expert is None:
        return Teaching(privileged_critic=options.privileged_critic, task_predictor=options.information_bonus > 0)
    return Teaching(
        type(expert).__name__, options.imitation_fraction, options.privileged_critic, options.information_bonus > 0
    )


def _actor(distribution: TaskDistribution, options: RL2Options, trial_steps: int) -> Actor:
    space, retrieval = distribution.observation_space, None
    if options.episodic_retrieval:
        retrieval = Retrieval(space, options.width, options.num_heads, options.window)
    memory = _memory(options, trial_steps)
    return Actor(space, distribution.action_space, retrieval, memory, options.width, options.squashed_gaussian)


def _critic(distribution: TaskDistribution, options: RL2Options, generator: torch.Generator) -> TrialCritic:
    tasks = distribution.sample(1000, generator).vector() if options.privileged_critic else None
    return TrialCritic(distribution.observation_space, options.width, tasks, max(64, options.width))


def _predictor(distribution: TaskDistribution, options: RL2Options) -> TaskPredictor | None:
    if options.information_bonus == 0:
        return None
    return TaskPredictor(options.width, distribution.task_space, max(64, options.width))


def _memory(options: RL2Options, trial_steps: int) -> Memory[Any]:
    if options.memory == "transformer":
        return TransformerMemory(options.width, options.num_layers, options.num_heads, options.window)
    return RecurrentMemory(options.memory, options.width, options.num_layers, trial_steps)
