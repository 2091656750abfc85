"""The contract ring runs each suite over everything that claims to satisfy it."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobhost.queues.seam import Backend

from .backends import backend, clock, handles, other, wakes
from .hosting import make_backend

__all__ = ["backend", "clock", "handles", "other", "store", "wakes"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What BullMQ does in another way (places in the line, numbers of jobs) is shown in test_queue_bullmq.py for it."""
    items[:] = [item for item in items if not (item.get_closest_marker("not_bullmq") and _is_of_redis(item))]


def _is_of_redis(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and hasattr(item, "callspec") and "redis" in item.callspec.params.values()


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Every backend in turn, not opened yet, for a host."""
    return make_backend(request.param, tmp_path)
