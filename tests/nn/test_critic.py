import torch
from gymnasium import spaces

from metarl import seeding
from metarl.nn.critic import TrialCritic


def made(task_vectors: torch.Tensor | None) -> TrialCritic:
    with seeding.initialising(0):
        return TrialCritic(spaces.Discrete(3), 8, task_vectors, 16)


def inputs() -> tuple[torch.Tensor, ...]:
    stream = torch.Generator().manual_seed(0)
    memory, task = torch.randn(4, 5, 8, generator=stream), torch.randn(4, 2, generator=stream)
    return memory.requires_grad_(), torch.ones(4, 5, dtype=torch.int64), torch.linspace(1, 0.2, 5).expand(4, 5), task


def test_new_units_do_not_move_predictions() -> None:
    critic, arguments = made(torch.randn(50, 2, generator=torch.Generator().manual_seed(1))), inputs()
    critic.update_statistics(torch.tensor([3.0, 5.0]))
    assert (critic.mean.item(), critic.deviation.item()) == (4.0, 1.0)
    before = critic.denormalised(critic(*arguments))
    critic.update_statistics(torch.tensor([-100.0, 300.0]))
    assert critic.deviation > 10
    torch.testing.assert_close(critic.denormalised(critic(*arguments)), before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(critic.denormalised(critic.normalised(before)), before)


def test_memory_gets_no_gradient_and_the_critic_itself_trains() -> None:
    critic, (memory, observation, time_left, task) = made(None), inputs()
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    target = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    errors = []
    for _ in range(200):
        error = (critic(memory, observation, time_left, task) - target).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert memory.grad is None
    assert errors[-1] < 0.05 * errors[0]


def test_only_a_privileged_critic_sees_the_task() -> None:
    memory, observation, time_left, task = inputs()
    blind, told = made(None), made(torch.randn(50, 2, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(blind(memory, observation, time_left, task), blind(memory, observation, time_left, -task))
    assert not torch.allclose(told(memory, observation, time_left, task), told(memory, observation, time_left, -task))
