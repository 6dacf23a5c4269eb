"""Speed of a meta-iteration of MAML: all tasks at once, or one after the other."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import metarl
from experiments.throughput.sizes import Sizes
from experiments.timing import Row, Side, compare, peak_memory
from metarl import seeding
from metarl.adaptation.inner_loop import InnerLoop, mean_meta_gradient
from metarl.adaptation.stacked import task_chunks, tasks_at_once
from metarl.adaptation.updates import FixedStep
from metarl.agents.gradient.inner_objective import Rollouts, action_parameters, inner_loss
from metarl.agents.gradient.meta_objective import CollectedBatch, MetaObjective
from metarl.agents.gradient.networks import FeedForward, PolicyNetwork
from metarl.agents.gradient.policy import InnerProblem, RolloutPolicy
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.trials.rollouts import collect


def meta_iteration(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Rollouts, an inner step, rollouts of the adapted policies, and the second-order meta-gradient.

    Both sides do the same arithmetic: on the same batches their meta-gradients are equal, which is asserted first.
    """
    distribution = metarl.make("point-navigation")
    problem = _problem(distribution, sizes, device)
    tasks = distribution.sample(sizes.meta_tasks, seeding.generator(0, "tasks")).to(device)
    loop = replace(problem, inner=InnerLoop(problem.inner.module, problem.inner.update, stacked=False))
    every = len(tasks)
    _check_equal(problem, loop, _collected(problem, tasks))
    sides = [
        Side("one task after the other", lambda: partial(_iterate, loop, tasks, 1, 1), reference=True),
        Side("all tasks at once", lambda: partial(_iterate, problem, tasks, every, _at_once(problem))),
    ]
    title = (
        f"meta-iteration: {every} tasks x {problem.rollouts} rollouts x {distribution.horizon} steps, before and after"
    )
    yield compare(title, sides, rounds, device)
    memory = {side.name: peak_memory(side.prepare(), device) for side in sides}
    known = {name: [megabytes] for name, megabytes in memory.items() if megabytes is not None}
    if known:
        yield Row(f"{title}: peak memory", "MB", known, (sides[0].name,))


def _iterate(problem: InnerProblem, tasks: Tasks, together: int, differentiated: int) -> int:
    """One meta-iteration with `together` tasks in each rollout and `differentiated` tasks in each backward pass."""
    parameters = list(problem.inner.module.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for part in task_chunks(len(tasks), together):
        batches = _collected(problem, tasks[part])
        gradients = _meta_gradient(problem, batches, differentiated)
        total = [t + g for t, g in zip(total, gradients, strict=True)]
    return 2 * len(tasks) * problem.rollouts * problem.distribution.horizon


def _collected(problem: InnerProblem, tasks: Tasks) -> list[CollectedBatch]:
    """What is learned from before and after the inner step."""
    inner, batches = problem.inner, list[CollectedBatch]()
    env = problem.distribution.vector_env(len(tasks) * problem.rollouts, next(inner.module.parameters()).device)
    env.set_tasks(tasks.repeat(problem.rollouts))
    with torch.no_grad():
        adapted = inner.begin(len(tasks))
        for step in range(2):
            policy = RolloutPolicy(problem, adapted, problem.rollouts, seed=step)
            trajectories = collect(policy, env, problem.distribution.horizon, seed=step)
            batch = problem.batch(Rollouts.of(trajectories), len(tasks))
            batches.append(CollectedBatch(batch, inner.call(action_parameters, adapted, batch)))
            if step == 0:
                adapted = inner.step(problem.loss, adapted, batch)
    return batches


def _meta_gradient(problem: InnerProblem, batches: list[CollectedBatch], differentiated: int) -> list[Tensor]:
    returns = torch.zeros(len(batches[0].old_parameters), device=batches[0].old_parameters.device)
    objective = MetaObjective(problem.inner, problem.loss, batches, returns)
    parameters = list(problem.inner.module.parameters())
    return mean_meta_gradient(lambda part: objective(part)[0], objective.num_tasks, parameters, differentiated)[1]


def _check_equal(problem: InnerProblem, loop: InnerProblem, batches: list[CollectedBatch]) -> None:
    ours, theirs = _meta_gradient(problem, batches, _at_once(problem)), _meta_gradient(loop, batches, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def _at_once(problem: InnerProblem) -> int:
    device = next(problem.inner.module.parameters()).device
    return tasks_at_once(problem.rollouts * problem.distribution.horizon, device)


def _problem(distribution: TaskDistribution, sizes: Sizes, device: torch.device) -> InnerProblem:
    with seeding.initialising(0):
        network: PolicyNetwork = FeedForward(distribution.observation_space, distribution.action_space, 64, 2)
    inner = InnerLoop(network.to(device), FixedStep(0.1).to(device))
    loss = inner_loss("lvc")
    return InnerProblem(distribution, inner, loss, rollouts=sizes.meta_rollouts, steps=1, gamma=0.99, gae_lambda=1.0)
