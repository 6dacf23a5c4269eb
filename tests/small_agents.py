"""Agents of each kind that train in a moment, from reward alone."""

from typing import Any

from metarl.agents import MAML, RL2, FineTuning, FineTuningOptions, MAMLOptions, RL2Options
from metarl.tasks.distribution import TaskDistribution

KINDS = ["rl2", "maml", "ppo"]


def small_agent(kind: str, family: TaskDistribution, batch_steps: int) -> Any:
    """RL² with batches of `batch_steps`, MAML with two tasks of two rollouts, or fine-tuning with half such batches."""
    if kind == "rl2":
        batches: dict[str, Any] = {"batch_steps": batch_steps, "num_minibatches": 2, "n_epochs": 1, "critic_epochs": 0}
        return RL2(family, RL2Options(memory="gru", width=8, imitation_fraction=0.0, **batches), device="cpu")
    if kind == "maml":
        options = MAMLOptions(width=8, meta_batch_size=2, rollouts_per_task=2, outer="policy-gradient")
        return MAML(family, options, device="cpu")
    tuned = FineTuningOptions(width=8, num_tasks=2, batch_steps=batch_steps // 2, num_minibatches=2)
    return FineTuning(family, tuned, device="cpu")
