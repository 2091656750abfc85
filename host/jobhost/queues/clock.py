"""The time, as queues count it. A backend takes its clock as an argument, so that tests can let time pass."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives Unix milliseconds."""


def unix_ms() -> int:
    """The wall clock: leases and delays are shared by machines, which have no other clock in common."""
    return time.time_ns() // 1_000_000
