"""Deadlines of many runs at the price of a dictionary entry each.

A timer of the event loop costs 4 us and a cancel scope 7 to 16, for each job; nearly no deadline is ever reached. So they lie in
buckets of 50 ms, and only a bucket has a timer.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable

TICK = 0.05
"""Seconds. A deadline is noticed up to so much late, never early."""
COARSE = 20
"""Ticks to which a deadline more than ten seconds away is rounded up, so that an hour of them is 3,600 buckets and not 72,000."""


class Deadlines:
    """A coarse timer wheel on one event loop. Items are their own handles."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, dict[Hashable, Callable[[], None]]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def add(self, item: Hashable, seconds: float, callback: Callable[[], None]) -> int:
        """Call `callback` once, `seconds` from now. Returns the ticket that `remove` wants."""
        tick = int((self._loop.time() + seconds) / TICK) + 1
        if seconds > 10:
            tick += -tick % COARSE
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heapq.heappush(self._order, tick)
            self._arm()
        bucket[item] = callback
        return tick

    def remove(self, item: Hashable, ticket: int) -> None:
        """Forget an item; nothing happens if its time has come already."""
        bucket = self._buckets.get(ticket)
        if bucket is not None:
            bucket.pop(item, None)

    def close(self) -> None:
        """Forget all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._buckets.clear()
        self._order.clear()

    def _arm(self) -> None:
        first = self._order[0]
        if self._timer is not None:
            if self._timer_tick <= first:
                return
            self._timer.cancel()
        self._timer_tick = first
        self._timer = self._loop.call_at(first * TICK, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._order and self._order[0] * TICK <= now:
            for callback in self._buckets.pop(heapq.heappop(self._order)).values():
                callback()
        if self._order:
            self._arm()
