"""The pytest plugin: the fixture `jobhost`. Loaded into every run of pytest, so that it imports the engine only for tests that use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .host import TestHost


@pytest.fixture
def jobhost_config() -> Any:
    """What the fixture `jobhost` is made with: tables as in jobhost.toml, or the path of such a file. Override it to say something."""
    return None


@pytest.fixture
def jobhost(jobhost_config: Any) -> Iterator[TestHost]:
    """A fresh host in memory, closed after the test. See jobhost.testing."""
    from .host import TestHost

    with TestHost(jobhost_config) as host:
        yield host
