"""The simulated device must be as strict as CUDA, or the tests that run on it hold nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from simulated_device import copies
from torch import Tensor, nn

Attempt = Callable[[Tensor, Tensor], object]  # with a tensor of the device [3, 4] and one of the CPU [3, 4]

REFUSED: dict[str, Attempt] = {
    "sum": lambda far, near: far + near,
    "sum in place": lambda far, near: near.add_(far),
    "concatenation": lambda far, near: torch.cat([far, near]),
    "choice": lambda far, near: torch.where(near > 0, far, 0.0),
    "index of the device in a tensor of the CPU": lambda far, near: near[torch.arange(1, device="far")],
    "values of the CPU": lambda far, near: far.index_put_((torch.arange(2, device="far"),), near[:2]),
    "network": lambda far, near: nn.Linear(4, 2)(far),
    "generator of the CPU": lambda far, near: torch.rand(3, device="far", generator=torch.Generator()),
    "generator of the device": lambda far, near: torch.rand(3, generator=torch.Generator("far")),
    "numpy": lambda far, near: far.numpy(),
}

ASKED: dict[str, Attempt] = {
    "aten._local_scalar_dense.default": lambda far, near: bool(far.any()),
    "aten.nonzero.default": lambda far, near: far.nonzero(),
    "tolist": lambda far, near: far.tolist(),
    "to the host": lambda far, near: far.cpu(),
    "from the host": lambda far, near: near.to("far"),
    "mask as index": lambda far, near: far[far > 0],
    "index from the host": lambda far, near: far[near > 0],
}

SILENT: dict[str, Attempt] = {
    "number": lambda far, near: far + torch.tensor(2.0),
    "constant": lambda far, near: torch.full((2,), 1.0, device="far"),
    "masked constant": lambda far, near: far.__setitem__(far > 0, 0.0),
    "index": lambda far, near: far[torch.arange(2, device="far")],
}


def tensors(far: str) -> tuple[Tensor, Tensor]:
    return torch.ones(3, 4, device=far), torch.ones(3, 4)


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_refuses_the_cpu(attempt: Attempt, far: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"CPU|generator|numpy"):
        attempt(*tensors(far))


@pytest.mark.parametrize("what", ASKED)
def test_counts_copies_by_line(what: str, far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulated_device.SOURCES", [Path(__file__).parent])
    given = tensors(far)
    with copies() as counted:
        ASKED[what](*given)
    assert {asked: count for (asked, line), count in counted.items()} == {what: 1}


@pytest.mark.parametrize("attempt", SILENT.values(), ids=SILENT)
def test_counts_nothing_where_nothing_is_copied(attempt: Attempt, far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulated_device.SOURCES", [Path(__file__).parent])
    given = tensors(far)
    with copies() as counted:
        attempt(*given)
    assert not counted


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_networks_compute_what_the_cpu_does(kind: type[nn.LSTM | nn.GRU], far: str) -> None:
    network, x = kind(4, 5, 2, batch_first=True), torch.rand(3, 6, 4, generator=torch.Generator().manual_seed(0))
    ours = network(x)[0].detach()
    theirs = network.to(far)(x.to(far))[0]
    assert theirs.device.type == far
    torch.testing.assert_close(theirs.cpu(), ours)


def test_a_change_of_shape_in_place_shows_outside(far: str) -> None:
    x = torch.arange(6, device=far).view(2, 3)
    x.transpose_(0, 1)
    assert x.shape == (3, 2)
    assert x.cpu().tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_network_that_moves_keeps_its_parameters(far: str) -> None:
    network = nn.Linear(4, 2)
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    before = network.to(far).weight.cpu()
    network(torch.ones(3, 4, device=far)).sum().backward()
    optimiser.step()
    assert not torch.equal(network.weight.cpu(), before)
    assert optimiser.state[network.weight]["step"].device.type == far
