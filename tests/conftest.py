"""Fixtures for all tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Every device that tensors may live on; cuda is skipped where there is none."""
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return name


@pytest.fixture
def user_project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's own folder on the Python path, with `drift_family.py` in it."""
    folder = Path(__file__).parent / "user_project"
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("drift_family", None)
