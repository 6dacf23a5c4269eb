"""RL² (Duan et al. 2016, arXiv 1611.02779): an agent whose memory is its learning algorithm, meta-trained with PPO."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl import seeding
from metarl.agent import Agent
from metarl.agents import expert
from metarl.agents.imitation import Supervised
from metarl.agents.in_context import Actor, InContextPolicy
from metarl.agents.trial_ppo import Batch, TrialPPO
from metarl.checkpoints import adam_state, check_tensors, load_adam_state
from metarl.critic import TrialCritic
from metarl.memory import Memory, RecurrentMemory, TransformerMemory
from metarl.recall import Recall
from metarl.rollouts import StochasticPolicy, collect
from metarl.schedules import discount_reach, factor_of_reach, growing_steps, linear_decay
from metarl.tasks import TaskDistribution
from metarl.trajectories import Context, Trajectories
from metarl.vector import TaskVectorEnv

FEW_TRIALS = 100  # fewer in a batch make minibatches that are too noisy for a critic
SHORTEST_TRIAL = 10  # steps of a training trial at the start of its growth, at least an episode


@dataclass(frozen=True)
class RL2Options:
    """Options of RL². The defaults are meant for every family; width, layers and batch_steps buy capacity."""

    memory: Literal["transformer", "gru", "lstm"] = "transformer"
    """What remembers the trial. From as many steps a GRU may learn more where observations are continuous."""
    width: int = 64
    """Width of tokens, memory and critic."""
    layers: int = 2
    """Layers of the memory."""
    heads: int = 2
    """Attention heads (recall and Transformer)."""
    window: int = 1024
    """Steps that each attention layer looks back (recall and Transformer)."""
    recall: bool = True
    """Before the memory, look up what happened the last times a like observation was met."""
    episodes: int | None = None
    """Episodes in a training trial; None: what the distribution says. It has the steps that they lately took."""
    batch_steps: int = 25_000
    """Environment steps collected for each update."""
    epochs: int = 4
    """Passes over each batch."""
    minibatches: int = 8
    """Parts of whole trials into which a batch is cut, one gradient step each."""
    critic_epochs: int | None = None
    """Further passes of the critic alone over each batch, after the policy; None: 10 where trials are few, else 0."""
    critic_minibatches: int = 32
    """Parts of single steps, of all trials in any order, into which a batch is cut for them."""
    learning_rate: float = 2e-3
    """Adam's step size at its highest; falls linearly to zero."""
    warmup: float = 0.02
    """Share of training over which the learning rate rises."""
    discount: float | None = None
    """Discount per step; None: it reaches ten trials ahead, or, where a batch has fewer than 250 whole trials, 100
    steps or a 250th of the batch if that is more: sums over few long trials are too noisy."""
    trace: float = 0.95
    """GAE's lambda."""
    clip: float = 0.2
    """PPO's clip range."""
    entropy: float = 0.01
    """Weight of the entropy bonus; falls linearly to zero."""
    max_gradient_norm: float = 0.5
    """Gradients of policy and critic are each scaled down to this norm."""
    privileged_critic: bool = True
    """Let the critic see the task in meta-training; the policy never does."""
    imitation: float = 0.3
    """Share of training, at its start, in which the policy imitates an expert that knows the task, if there is one."""
    imitation_temperature: float = 0.5
    """How soft the expert's advice on discrete actions is, in units of its values' deviation between actions."""
    growth: float = 0.5
    """Without an expert: share of training over which trials grow, by doubling from one episode, to full length."""
    segment: int | None = None
    """Steps through which gradients flow back (truncated backpropagation); None: whole trials."""

    def __post_init__(self) -> None:
        sizes = ("width", "layers", "heads", "window", "batch_steps", "epochs", "minibatches", "critic_minibatches")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.critic_epochs is not None and self.critic_epochs < 0:
            raise ValueError(f"critic_epochs must be at least 0 or None, got {self.critic_epochs}")
        for name in ("learning_rate", "clip", "max_gradient_norm", "imitation_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("trace", "warmup", "imitation", "growth"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.discount is not None and not 0 <= self.discount <= 1:
            raise ValueError(f"discount must lie in [0, 1] or be None, got {self.discount}")
        if self.memory not in ("transformer", "gru", "lstm"):
            raise ValueError(f"memory must be transformer, gru or lstm, got {self.memory!r}")
        if self.segment is not None and self.segment < 1:
            raise ValueError(f"segment must be at least 1 or None, got {self.segment}")


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
        self._episode_steps: float = distribution.horizon  # of those in the last batch, on the mean
        self._has_expert = self.options.imitation > 0 and expert(distribution, 1) is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.stream_seed(seed, "parameters"))
            self.actor = _actor(distribution, self.options)
            self.critic = _critic(distribution, self.options, seeding.generator(seed, "task scale"))
        self.actor.to(self.device)
        self.critic.to(self.device)
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=0.0, eps=1e-5, fused=True)
        self._ppo = TrialPPO(
            self.actor,
            self.critic,
            distribution.horizon,
            self.trial_steps,
            self.options.trace,
            self.options.clip,
            self.options.segment,
        )

    @property
    def trial_episodes(self) -> int:
        return self.distribution.episodes if self.options.episodes is None else self.options.episodes

    def policy(self, num_tasks: int, deterministic: bool | None = None, seed: int = 0) -> InContextPolicy:
        """The actor in new trials; None for `deterministic` draws continuous actions and takes the likeliest discrete.

        Continuous actions without their noise make trials such as none in training was, and the memory may go astray:
        on Meta-World's reach, after 3 M steps, it solves 95 % of the layouts with drawn and 28 % with likeliest ones.
        """
        if deterministic is None:
            deterministic = not isinstance(self.distribution.action_space, spaces.Box)
        return InContextPolicy(self.actor, num_tasks, deterministic, seed)

    def attention_weights(self, context: Context) -> Tensor | None:
        return self.actor.attention_weights(context)

    def update(self, progress: float, on_step: Callable[[TaskVectorEnv], None]) -> dict[str, float]:
        steps = self._trial_steps(progress)
        trajectories, advice = self._collect(steps, progress, on_step)
        batch, value_error = self._ppo.assess(trajectories, advice, self._discount(steps), steps)
        metrics = self._optimise(batch, progress)
        self.actor.update(trajectories)
        self.critic.observation.update(trajectories.observations)
        self._episode_steps = trajectories.rewards.numel() / max(1, int(trajectories.dones.sum()))
        return {
            "rollout/trial_return": trajectories.rewards.sum(1).mean().item(),
            "rollout/trial_steps": trajectories.num_steps,
            "rollout/episode_return": trajectories.mean_episode_return(),
            "train/unexplained_variance": value_error,
            **metrics,
        }

    def state(self) -> dict[str, Tensor]:
        state = {f"actor.{name}": tensor for name, tensor in self.actor.state_dict().items()}
        state |= {f"critic.{name}": tensor for name, tensor in self.critic.state_dict().items()}
        state["episode_steps"] = torch.tensor(self._episode_steps, dtype=torch.float64)
        return state | adam_state(self.optimiser)

    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        check_tensors(source, state, self.state())
        for prefix, module in (("actor.", self.actor), ("critic.", self.critic)):
            module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._episode_steps = state["episode_steps"].item()
        load_adam_state(self.optimiser, state)

    def _collect(
        self, trial_steps: int, progress: float, on_step: Callable[[TaskVectorEnv], None]
    ) -> tuple[Trajectories, Tensor | None]:
        """A batch of trials in fresh tasks, with the expert's advice while the policy imitates it."""
        steps = self._steps_needed(trial_steps)
        num_trials = max(self.options.minibatches, self.options.batch_steps // steps)
        if self._env is None or self._env.num_envs != num_trials:
            self._env = self.distribution.vector_env(num_trials, self.device)
        env = self._env
        env.set_tasks(self.distribution.sample(num_trials, self._stream("tasks")))
        policy: StochasticPolicy = self.policy(
            num_trials, deterministic=False, seed=seeding.stream_seed(self.seed, "act", self.updates)
        )
        if self._has_expert and progress < self.options.imitation:
            policy = Supervised(policy, expert(self.distribution, num_trials, self.device), env.tasks)
        seed = seeding.stream_seed(self.seed, "environment", self.updates)
        trajectories = collect(policy, env, steps, seed=seed, on_step=lambda: on_step(env))
        if not isinstance(policy, Supervised):
            return trajectories, None
        return trajectories, policy.advice(self.options.imitation_temperature)

    def _trial_steps(self, progress: float) -> int:
        """Steps of a training trial: whole where an expert leads the way, else short at first."""
        if self._has_expert:
            return self.trial_steps
        first = max(self.distribution.horizon, SHORTEST_TRIAL)
        return growing_steps(progress, self.trial_steps, first, self.options.growth)

    def _steps_needed(self, trial_steps: int) -> int:
        """Steps in which the episodes of such a trial were lately over, in doublings of the longest episode.

        More would be episodes of a next trial in the same task, and fewer tasks in a batch. An expert is followed to
        the end of the trial.
        """
        if self._has_expert:
            return trial_steps
        horizon = self.distribution.horizon
        needed = trial_steps / horizon * self._episode_steps
        return min(trial_steps, horizon << max(0, math.ceil(math.log2(needed / horizon))))

    def _discount(self, steps: int) -> float:
        """The discount per step in trials of so many steps."""
        if self.options.discount is not None:
            return self.options.discount
        return factor_of_reach(discount_reach(steps, self.trial_steps, self.options.batch_steps))

    def _optimise(self, batch: Batch, progress: float) -> dict[str, float]:
        """Epochs of minibatches of whole trials; returns the means of what was measured on the way."""
        options = self.options
        rate = options.learning_rate * linear_decay(progress, options.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        entropy_weight = options.entropy * linear_decay(progress) if batch.advice is None else 0.0
        stream = self._stream("minibatches")
        rows: list[Tensor] = []
        for _ in range(options.epochs):
            order = torch.randperm(len(batch.old_log_prob), generator=stream, device=self.device)
            rows += [self._gradient_step(batch, part, entropy_weight) for part in order.chunk(options.minibatches)]
        self._fit_critic(batch, stream)
        policy_loss, value_loss, entropy, kl = torch.stack(rows).mean(0).tolist()
        return {
            "train/policy_loss": policy_loss,
            "train/value_loss": value_loss,
            "train/entropy": entropy,
            "train/approximate_kl": kl,
            "train/learning_rate": rate,
        }

    def _gradient_step(self, batch: Batch, part: Tensor, entropy_weight: float) -> Tensor:
        """One step on the trials at `part`. Returns policy loss, value loss, entropy and KL [4]."""
        self.optimiser.zero_grad()
        measured = self._ppo.backward(batch, part, entropy_weight)
        self._step(measured)
        return measured

    def _fit_critic(self, batch: Batch, stream: torch.Generator) -> None:
        """Further epochs of the critic alone, on what the policy remembers after its update.

        Minibatches of a few whole trials are too noisy for a critic; single steps are many, however few the trials.
        """
        epochs = self.options.critic_epochs
        if epochs is None:
            epochs = 10 if len(batch.target) < FEW_TRIALS else 0
        if epochs == 0:
            return
        memory = self._ppo.remembered(batch.context)
        for _ in range(epochs):
            order = torch.randperm(batch.target.numel(), generator=stream, device=self.device)
            for part in order.chunk(self.options.critic_minibatches):
                self.optimiser.zero_grad()
                self._step(self._ppo.backward_critic(batch, memory, part))

    def _step(self, measured: Tensor) -> None:
        """Move what has gradients along them; FloatingPointError, and nothing moves, if what was measured is broken."""
        if not torch.isfinite(measured).all():
            raise FloatingPointError(f"update {self.updates}: losses are not finite: {measured.tolist()}")
        nn.utils.clip_grad_norm_(self.actor.parameters(), self.options.max_gradient_norm)
        nn.utils.clip_grad_norm_(self.critic.parameters(), self.options.max_gradient_norm)
        self.optimiser.step()

    def _stream(self, name: str) -> torch.Generator:
        return seeding.generator(self.seed, name, self.updates, device=self.device)


def _actor(distribution: TaskDistribution, options: RL2Options) -> Actor:
    space, recall = distribution.observation_space, None
    if options.recall:
        recall = Recall(space, options.width, options.heads, options.window)
    return Actor(space, distribution.action_space, recall, _memory(options), options.width)


def _critic(distribution: TaskDistribution, options: RL2Options, generator: torch.Generator) -> TrialCritic:
    tasks = distribution.sample(1000, generator).vector() if options.privileged_critic else None
    return TrialCritic(distribution.observation_space, options.width, tasks, max(64, options.width))


def _memory(options: RL2Options) -> Memory:
    if options.memory == "transformer":
        return TransformerMemory(options.width, options.layers, options.heads, options.window)
    return RecurrentMemory(options.memory, options.width, options.layers)
