"""What the fault injections share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from faults.tally import Tally, counted
from faults.warm import Warm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def promise(record_property: Callable[[str, object], None]) -> Callable[[str], AbstractContextManager[Tally]]:
    """`with promise("what is promised") as tally: tally.expect(...)`."""
    return partial(counted, record=record_property)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The process that forks for each command."""
    with Warm() as process:
        yield process
