"""The contract ring runs each suite over everything that claims to satisfy it."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobhost.queues.seam import Backend

from .backends import STORES, backend, clock, handles, other, wakes
from .hosting import make_backend

__all__ = ["backend", "clock", "handles", "other", "store", "wakes"]


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Every backend in turn, not opened yet, for a host."""
    return make_backend(request.param, tmp_path)
