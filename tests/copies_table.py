"""Prints how often agents would make the host wait for a GPU: `python tests/copies_table.py`, as a Markdown table."""

from collections.abc import Callable

from simulated_device import copies, simulated_device

import metarl
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.evaluation.evaluator import evaluate
from metarl.training.agent import Agent


def counted(function: Callable[[], object]) -> int:
    with copies() as counter:
        function()
    return counter.total()


def row(title: str, agent: Agent) -> str:
    steps = agent.distribution.num_episodes * agent.distribution.horizon
    update = counted(lambda: agent.train_step(0.0, lambda env: None))
    evaluation = counted(lambda: evaluate(agent.policy(4), agent.distribution, 4))
    return f"| {title} | {update} | {evaluation / steps:.2f} |"


def main() -> None:
    print("| agent | an update | a step of evaluation |\n|---|---|---|")
    with simulated_device() as far:
        for memory in ("transformer", "gru", "lstm"):
            options = RL2Options(
                memory=memory,
                width=8,
                num_layers=1,
                num_heads=1,
                batch_steps=160,
                num_minibatches=2,
                n_epochs=2,
                critic_epochs=2,
                critic_minibatches=2,
            )
            print(row(f"RL², {memory}, grid navigation", RL2(metarl.make("grid-navigation"), options, device=far)))
        for network in ("feed-forward", "attention"):
            small = MAMLOptions(width=8, meta_batch_size=4, rollouts_per_task=2, network=network)
            print(row(f"MAML, {network}, tabular MDPs", MAML(metarl.make("tabular-mdp"), small, device=far)))


if __name__ == "__main__":
    main()
