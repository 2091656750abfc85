"""An event loop whose clock moves only while it waits, or when it is told to.

While callbacks run no time passes, so that what a test does at one moment has one time, in whole milliseconds, as queues count. When
there is nothing to do the loop asks `on_quiet`, which may move the clock and have it look again; else it waits for real. The clock moves
as long, but for what is short: how long a thread took is nobody's business, and would be another time in each run of a test.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from math import ceil
from typing import Any

ROUNDING = 1e-6
"""Seconds. A timer that is so near is due: fractions are not exact."""

SHORT = 0.1
"""Seconds."""


def whole_ms(seconds: float) -> int:
    """Milliseconds after which a timer is due, at least one: a clock that stands still would never reach it."""
    return max(1, ceil((seconds - ROUNDING) * 1000))


class _Selector(selectors.DefaultSelector):
    """Asks the loop before it waits."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0) or self.loop.moved(timeout):
            return ready
        began = time.monotonic()
        ready = super().select(timeout)
        if timeout is not None and not ready:
            self.loop.now += whole_ms(timeout)
        else:
            self.loop.waited(time.monotonic() - began)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `on_quiet(timeout)`: called with the seconds until the next timer; True: look again, False: wait for real. `now`:
    milliseconds that have passed."""

    def __init__(self) -> None:
        self.now = 0
        self._short = 0.0
        self._executing = 0
        self.on_quiet: Callable[[float | None], bool] | None = None
        selector = _Selector()
        selector.loop = self
        self._waits = selector
        super().__init__(selector)
        self._own = len(selector.get_map())
        self._clock_resolution = ROUNDING

    def time(self) -> float:
        return self.now / 1000

    def waited(self, seconds: float) -> None:
        """So much time has passed in the real world before something happened."""
        self._short += seconds
        if self._short >= SHORT:
            self.now += int(self._short * 1000)
            self._short = 0.0

    def rested(self) -> None:
        """Nothing runs: what was short is forgotten."""
        self._short = 0.0

    def moved(self, timeout: float | None) -> bool:
        """Whether somebody has moved the clock, or stopped the loop, instead of waiting."""
        return self.on_quiet is not None and self.on_quiet(timeout)

    @property
    def waits_for_others(self) -> bool:
        """Whether sockets, pipes or threads of executors may end the wait: what takes its time in the real world."""
        return self._executing > 0 or len(self._waits.get_map()) > self._own

    def run_in_executor(  # type: ignore[override]  # variadic generics would say no more
        self, executor: Executor | None, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._executing += 1
        future.add_done_callback(self._executed)
        return future

    def _executed(self, _: object) -> None:
        self._executing -= 1
