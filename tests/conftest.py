"""What every ring of tests shares."""

from __future__ import annotations

import signal

import pytest

# A shell that runs the tests in the background has them ignore Ctrl-C, and all they start too; some of that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
