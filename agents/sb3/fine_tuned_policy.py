"""A policy that adapts inside each task by updates of Stable-Baselines3's PPO."""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from metarl import seeding
from metarl.adaptation.stacked import Data, Stacked, call_in_tasks
from metarl.nn.action_heads import action_head
from metarl.nn.gaussian_heads import GaussianHead
from metarl.sb3.spaces import SB3Spaces
from metarl.seeding import borrowed_randomness
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.training.checkpoints import adam_state, load_adam_state, pack, packed, unpack

ROOM = 64  # capacity of the step buffer at the start


@final
@dataclass(frozen=True)
class Tuning:
    """How a PPO learner adapts in a trial."""

    distribution: TaskDistribution
    model: PPO
    num_episodes: int  # before each update
    updates: int  # in a trial
    minibatches: int  # in each pass over the steps of an update
    deterministic: bool  # whether actions are the most likely ones after the last update
    seed: int


class Transitions(NamedTuple):
    """T steps in one task, with observations and actions in Stable-Baselines3's convention."""

    observation: Tensor  # [T, ...]
    action: Tensor  # [T, ...]
    reward: Tensor  # [T]
    terminated: Tensor  # [T]
    truncated: Tensor  # [T]
    next_observation: Tensor  # [T, ...] before any automatic reset


@final
class FineTunedPolicy(AdaptivePolicy):
    """Every task has a network and an optimiser of its own, which take one PPO update after every few episodes.

    Before the last update of a trial actions are drawn, because PPO must explore. After it a deterministic policy takes
    the most likely action. Tasks are independent of each other.
    """

    def __init__(self, tuning: Tuning, initial: Stacked) -> None:
        """`initial` [num_tasks, ...] is the `learner_state` with which each task starts."""
        num_tasks = len(next(iter(initial.values())))
        super().__init__(num_tasks, tuning.model.device)
        self._tuning = tuning
        self._initial = initial
        self._convention = SB3Spaces(tuning.distribution, self.device)
        self._head = action_head(self._convention.action_space).to(self.device)
        self._generator = seeding.generator(tuning.seed, "actions", device=self.device)
        self._state = {name: x.clone() for name, x in initial.items()}
        self._steps = TaskTransitions(num_tasks, self.device)
        self._updates = torch.zeros(num_tasks, dtype=torch.int64, device=self.device)  # taken in this trial

    @property
    def model(self) -> PPO:
        """The PPO that updates every task's network in turn."""
        return self._tuning.model

    @property
    def state(self) -> Stacked:
        """The current `learner_state` of every task, `[num_tasks, ...]`."""
        return self._state

    def begin(self, mask: Tensor | None = None) -> None:
        mask = torch.ones_like(self._updates, dtype=torch.bool) if mask is None else mask.to(self.device)
        for name, x in self._state.items():
            x[mask] = self._initial[name][mask]
        self._updates[mask] = 0
        self._steps.forget(mask)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        parameters = self._action_parameters(self._convention.observation(observation))
        action = self._head.sample(parameters, self._generator)
        if self._tuning.deterministic:
            learned = (self._updates >= self._tuning.updates).view(-1, *[1] * (action.dim() - 1))
            action = torch.where(learned, self._head.mode(parameters), action)
        return self._convention.action(action)

    def observe(self, transition: Transition) -> None:
        counted = Transitions(
            self._convention.observation(transition.observation),
            self._convention.counted(transition.action),
            transition.reward,
            transition.terminated,
            transition.truncated,
            self._convention.observation(transition.next_observation),
        )
        self._steps.add(counted, self._updates < self._tuning.updates)
        for slot in self._steps.complete(self._tuning.num_episodes):
            self._update(slot, self._steps.take(slot))

    def _action_parameters(self, observation: Tensor) -> Tensor:
        """Action parameters `[num_tasks, P]`, each from the task's own network."""
        network = packed(self._state, "policy")
        data = {"observation": observation[:, None]}
        parameters: Tensor = call_in_tasks(self.model.policy, action_parameters, network, data).squeeze(1)
        return parameters if isinstance(self._head, GaussianHead) else self._head(parameters)

    def _update(self, slot: int, steps: Transitions) -> None:
        number = int(self._updates[slot])
        load_learner_state(self.model.policy, {name: x[slot] for name, x in self._state.items()})
        fill_rollout(self.model, steps)
        self.model.batch_size = -(-len(steps.reward) // self._tuning.minibatches)
        try:
            with borrowed_randomness(seeding.stream_seed(self._tuning.seed, "minibatches", slot, number)):
                self.model.train()
        except ValueError as error:  # torch's distributions refuse a network that gives no numbers
            raise FloatingPointError(f"update {number} of task {slot}: {error}") from error
        for name, x in learner_state(self.model.policy).items():
            if not x.isfinite().all():
                raise FloatingPointError(f"update {number} of task {slot}: {name} is not finite")
            self._state[name][slot] = x
        self._updates[slot] += 1


@final
class TaskTransitions:
    """The steps that N tasks experienced since their last update."""

    def __init__(self, num_tasks: int, device: torch.device) -> None:
        self._length = torch.zeros(num_tasks, dtype=torch.int64, device=device)
        self._episodes = torch.zeros_like(self._length)  # that ended
        self._rows: Transitions | None = None  # [N, room, ...]

    def add(self, step: Transitions, mask: Tensor) -> None:
        """Add one step `[N, ...]` in the tasks where `mask` [N] is true."""
        rows = self._with_room(step)
        index = mask.nonzero().squeeze(-1)
        for row, x in zip(rows, step, strict=True):
            row[index, self._length[index]] = x[index]
        self._length += mask
        self._episodes += mask & (step.terminated | step.truncated)

    def _with_room(self, step: Transitions) -> Transitions:
        """The rows, with a free place in each task."""
        if self._rows is None:
            self._rows = Transitions(*(x.new_zeros(len(x), ROOM, *x.shape[1:]) for x in step))
        if int(self._length.max()) == self._rows.reward.shape[1]:
            self._rows = Transitions(*(torch.cat([row, torch.zeros_like(row)], 1) for row in self._rows))
        return self._rows

    def complete(self, episodes: int) -> list[int]:
        """Indices of the tasks that have experienced `episodes` episodes."""
        return (self._episodes == episodes).nonzero().flatten().tolist()

    def take(self, slot: int) -> Transitions:
        """The steps of one task; forgets them."""
        assert self._rows is not None
        steps = Transitions(*(row[slot, : int(self._length[slot])].clone() for row in self._rows))
        self.forget(torch.tensor([slot], device=self._length.device))
        return steps

    def forget(self, where: Tensor) -> None:
        self._length[where] = 0
        self._episodes[where] = 0


def learner_state(policy: ActorCriticPolicy) -> Stacked:
    """All that PPO changes as it learns: the parameters of its network and the state of its optimiser, Adam."""
    return pack(policy=policy) | adam_state(policy.optimizer)  # type: ignore[arg-type]


def load_learner_state(policy: ActorCriticPolicy, state: Stacked) -> None:
    """The inverse of `learner_state`."""
    unpack(state, policy=policy)
    load_adam_state(policy.optimizer, state)  # type: ignore[arg-type]


@torch.no_grad()
def fill_rollout(model: PPO, steps: Transitions) -> None:
    """Put whole episodes into the model's rollout buffer, as if it had collected them with the parameters it has now.

    An episode that ran out of time goes on with what the critic expects, as in Stable-Baselines3's own rollouts.
    """
    policy, buffer = model.policy, model.rollout_buffer
    action = steps.action if steps.action.dim() == 1 else steps.action.flatten(1).float()
    values, log_probs, _ = policy.evaluate_actions(steps.observation, action)
    ended = steps.terminated | steps.truncated
    expected = policy.predict_values(steps.next_observation).flatten()
    columns = {
        "observations": steps.observation,
        "actions": steps.action,
        "rewards": steps.reward + model.gamma * expected * steps.truncated,
        "episode_starts": ended.roll(1),  # the last step ends an episode, and before the first one did
        "values": values,
        "log_probs": log_probs,
    }
    buffer.buffer_size = len(steps.reward)
    buffer.reset()
    for name, x in columns.items():
        array = getattr(buffer, name)
        array[:] = x.cpu().numpy().reshape(array.shape)
    buffer.pos, buffer.full = buffer.buffer_size, True
    buffer.compute_returns_and_advantage(last_values=torch.zeros(1), dones=np.ones(1, dtype=bool))


def action_parameters(policy: ActorCriticPolicy, data: Data) -> Tensor:
    """Parameters `[B, P]` of a Gaussian head, else outputs `[B, P]`, from a network of Stable-Baselines3."""
    features = policy.extract_features(data["observation"], policy.pi_features_extractor)
    assert isinstance(features, Tensor)  # actor and critic share what flattens the observation
    output: Tensor = policy.action_net(policy.mlp_extractor.forward_actor(features))
    if isinstance(policy.action_space, spaces.Box):
        return torch.cat([output, policy.log_std.expand_as(output)], -1)
    return output
