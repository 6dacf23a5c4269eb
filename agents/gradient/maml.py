"""MAML (Finn et al. 2017, arXiv 1703.03400) and its variants: parameters that adapt by a few gradient steps."""

import itertools
from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor, nn

from metarl import distributed, seeding
from metarl.adaptation.inner_loop import Adapted, InnerLoop
from metarl.adaptation.stacked import select_parameters, tasks_at_once
from metarl.adaptation.updates import FixedStep, InnerUpdate, LearnedOptimiser, StepPerLayer, StepPerParameter
from metarl.agents.gradient.inner_objective import Rollouts, action_parameters, first_episodes, inner_loss
from metarl.agents.gradient.meta_objective import CollectedBatch, MetaObjective
from metarl.agents.gradient.meta_updates import gradient_descent, trust_region
from metarl.agents.gradient.networks import AttentionPolicy, FeedForward, PolicyNetwork
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.gradient.policy import GradientPolicy, InnerProblem, RolloutPolicy
from metarl.functional.schedules import linear_decay
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv
from metarl.training.agent import Agent
from metarl.training.checkpoints import adam_state, check_tensors, load_adam_state, pack, unpack
from metarl.trials.context import Context
from metarl.trials.rollouts import collect
from metarl.trials.trajectories import Trajectories


@final
class MAML(Agent):
    """MAML: meta-learns parameters that adapt to a task by policy gradient; ProMP, ANIL, CAVIA and others by options.

    >>> import metarl
    >>> agent = MAML(metarl.make("point-navigation"), MAMLOptions(meta_batch_size=2, rollouts_per_task=2), device="cpu")
    >>> agent.learn(800).policy(num_tasks=3).act(torch.zeros(3, 2)).shape
    torch.Size([3, 2])
    """

    Options = MAMLOptions
    options: MAMLOptions
    several_processes = True
    for_less_memory = "lower meta_batch_size, rollouts_per_task or width"

    def __init__(
        self,
        distribution: TaskDistribution,
        options: MAMLOptions | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "auto",
    ) -> None:
        super().__init__(distribution, options, seed=seed, device=device)
        distributed.equal_share(self.options.meta_batch_size, "tasks")
        with seeding.initialising(seeding.stream_seed(seed, "parameters")):
            self.network = _network(distribution, self.options).to(self.device)
            adapts = _patterns(self.network, self.options.adapted_parameters)
            update = _update(self.network, adapts, self.options).to(self.device)
        self.inner = InnerLoop(
            self.network,
            update,
            adapts,
            second_order=self.options.second_order,
            proximal=self.options.proximal,
        )
        self.loss = inner_loss(self.options.estimator)
        self.optimiser = torch.optim.Adam(self._parameters(), lr=self.options.learning_rate, fused=True)

    @property
    def trial_episodes(self) -> int:
        """Episodes of all inner steps, and once more `rollouts` of the adapted policy."""
        problem = self._test_problem()
        return problem.rollouts * (problem.steps + 1)

    def policy(self, num_tasks: int, deterministic: bool | None = None, seed: int = 0) -> GradientPolicy:
        """The trained policy at the start of `num_tasks` tasks; `deterministic=None` means True.

        While a policy has inner steps to take, it draws its actions, even if it is deterministic.
        """
        return GradientPolicy(self._test_problem(), num_tasks, deterministic is not False, seed)

    def attention_weights(self, context: Context) -> Tensor | None:
        return None

    def train_step(self, fraction_done: float, on_step: Callable[[TaskVectorEnv], None]) -> dict[str, float]:
        played, batches, adapted = self._collect(on_step)
        returns = [torch.cat([_episode_returns(part) for part in parts]) for parts in played]
        if self.options.outer == "reptile":
            metrics = self._reptile_step(adapted, self.options.learning_rate * linear_decay(fraction_done))
        else:
            metrics = self._learn(returns[-1], batches)
        for part in itertools.chain.from_iterable(played):
            self.network.update_statistics(part)
        *before, last = (each.mean().item() for each in returns)
        return {
            **{f"rollout/ep_rew_mean_after_{step}_steps": value for step, value in enumerate(before)},
            "rollout/ep_rew_mean": last,
            **metrics,
        }

    def state(self) -> dict[str, Tensor]:
        modules = pack(network=self.network, update=self.inner.update)
        rate = torch.tensor(self.optimiser.param_groups[0]["lr"], dtype=torch.float64)
        return modules | adam_state(self.optimiser) | {"learning_rate": rate}

    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        check_tensors(source, state, self.state())
        unpack(state, network=self.network, update=self.inner.update)
        load_adam_state(self.optimiser, state)
        for group in self.optimiser.param_groups:
            group["lr"] = float(state["learning_rate"])

    def _collect(
        self, on_step: Callable[[TaskVectorEnv], None]
    ) -> tuple[list[list[Trajectories]], list[CollectedBatch], Adapted]:
        """Rollouts before every inner step and after the last, their data, and the adapted parameters.

        Rollouts are in the groups in which they were played, because joined rows of different lengths end in zeros, of
        which no statistics should know.
        """
        problem = self._problem(self.options.rollouts_per_task, self.options.inner_steps)
        num_tasks = distributed.equal_share(self.options.meta_batch_size, "tasks")
        tasks = self.distribution.sample(num_tasks, self._stream("tasks"))
        played, batches = [], []
        with torch.no_grad():
            adapted = self.inner.begin(num_tasks)
            for step in range(problem.steps + 1):
                parts = self._play(problem, adapted, tasks, step, on_step)
                batch = problem.batch(Rollouts.of(Trajectories.joined(parts)), num_tasks, distributed.mean)
                batches.append(CollectedBatch(batch, self.inner.call(action_parameters, adapted, batch)))
                played.append(parts)
                if step < problem.steps or self.options.outer == "reptile":
                    adapted = self.inner.step(self.loss, adapted, batch, self._chunk())
        return played, batches, adapted

    def _play(
        self,
        problem: InnerProblem,
        adapted: Adapted,
        tasks: Tasks,
        step: int,
        on_step: Callable[[TaskVectorEnv], None],
    ) -> list[Trajectories]:
        """Rollouts of all tasks, task-major, by the policy after `step` inner steps: one group after another."""
        env, parts = self._open_env(), []
        size = self._group_size()
        for number, first in enumerate(range(0, len(tasks), size)):
            seeds = [self._stream_seed(name, step, *([number] if number else [])) for name in ("act", "environment")]
            own = adapted
            if size < len(tasks):
                own = adapted.take(torch.arange(first, first + size, device=self.device))
                env.set_tasks(tasks[first : first + size].repeat(problem.rollouts))
            elif step == 0:
                env.set_tasks(tasks.repeat(problem.rollouts))
            part = collect(
                RolloutPolicy(problem, own, problem.rollouts, seeds[0]),
                env,
                self.distribution.horizon,
                seed=seeds[1],
                on_step=lambda: on_step(env),
                one_episode=distributed.size() == 1,  # several processes count the same steps
            )
            parts.append(part)
        return parts

    def _group_size(self) -> int:
        """How many tasks are played at once: as many as the environments allow, in groups of one size."""
        num_tasks, options = distributed.equal_share(self.options.meta_batch_size, "tasks"), self.options
        limit = self.distribution.most_envs if options.num_envs is None else options.num_envs
        most = num_tasks if limit is None else max(1, limit // options.rollouts_per_task)
        return max(size for size in range(1, min(most, num_tasks) + 1) if num_tasks % size == 0)

    def _open_env(self) -> TaskVectorEnv:
        if self._env is None:
            self._env = self.distribution.vector_env(self._group_size() * self.options.rollouts_per_task, self.device)
        return self._env

    def _learn(self, episode_returns: Tensor, batches: list[CollectedBatch]) -> dict[str, float]:
        """One step of the outer loop; `episode_returns` [B] are those of the adapted policy."""
        options = self.options
        returns = episode_returns.view(-1, options.rollouts_per_task).mean(1)
        objective = MetaObjective(
            self.inner,
            self.loss,
            batches,
            returns,
            multi_step_loss=options.multi_step_loss,
            clip_range=options.clip_range if options.outer == "ppo" else None,
            inner_kl=options.inner_kl,
            exploration_credit=options.exploration_credit,
        )
        if options.outer == "trpo":
            return trust_region(objective, self._parameters(), options.max_kl, options.fisher_fraction, self._chunk())
        epochs = options.n_epochs if options.outer == "ppo" else 1
        return gradient_descent(objective, self.optimiser, self._parameters(), epochs, options.max_kl, self._chunk())

    def _reptile_step(self, adapted: Adapted, rate: float) -> dict[str, float]:
        """Reptile (Nichol et al. 2018, arXiv 1803.02999): a step towards the mean of the adapted parameters."""
        for name, parameter in self.network.named_parameters():
            if name in adapted.parameters:
                parameter.grad = parameter.detach() - distributed.averaged(adapted.parameters[name].mean(0))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        return {"train/learning_rate": rate}

    def _parameters(self) -> list[nn.Parameter]:
        """What the outer loop trains: all parameters but the context vector, which is zero in a new task."""
        own = [p for name, p in self.network.named_parameters() if name != "context.value"]
        return [*own, *self.inner.update.parameters()]

    def _problem(self, rollouts: int, steps: int) -> InnerProblem:
        return InnerProblem(
            self.distribution, self.inner, self.loss, rollouts, steps, self.options.gamma, self.options.gae_lambda
        )

    def _test_problem(self) -> InnerProblem:
        options = self.options
        rollouts = options.rollouts_per_task if options.test_rollouts is None else options.test_rollouts
        return self._problem(rollouts, options.inner_steps if options.test_steps is None else options.test_steps)

    def _chunk(self) -> int:
        return tasks_at_once(self.options.rollouts_per_task * self.distribution.horizon, self.device)


def _episode_returns(trajectories: Trajectories) -> Tensor:
    """The return [B] of the first episode of each rollout. Short episodes leave room for more, which do not count."""
    return (trajectories.rewards * first_episodes(trajectories.dones)).sum(1)


def _network(distribution: TaskDistribution, options: MAMLOptions) -> PolicyNetwork:
    spaces = (distribution.observation_space, distribution.action_space)
    if options.network == "attention":
        return AttentionPolicy(*spaces, options.width, options.num_layers, options.num_heads, distribution.horizon)
    context_width = options.context_width if options.adapted_parameters == "context" else 0
    return FeedForward(*spaces, options.width, options.num_layers, context_width)


def _patterns(network: PolicyNetwork, adapts: str) -> tuple[str, ...]:
    """Names of the parameters that change inside a task."""
    head = ("output.*", *(f"head.{name}" for name, _ in network.head.named_parameters()))
    patterns = {"all": ("*",), "head": head, "attention": ("*.query_key_value.*",), "context": ("context.value",)}
    return patterns[adapts]


def _update(network: PolicyNetwork, adapts: tuple[str, ...], options: MAMLOptions) -> InnerUpdate:
    names = select_parameters(network, adapts)
    own = dict(network.named_parameters())
    rates = options.inner_lr
    if options.inner_update == "fixed":
        return FixedStep(*rates)
    if options.inner_update == "per-parameter":
        return StepPerParameter({name: own[name] for name in names}, *rates)
    if options.inner_update == "per-layer":
        return StepPerLayer(names, *rates[: options.inner_steps], *[rates[-1]] * (options.inner_steps - len(rates)))
    return LearnedOptimiser(rates[0])
