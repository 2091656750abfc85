"""How long to wait after a child that did not start: never a hot loop, never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FIRST = 0.5
"""Seconds after the first failure; doubled by each further one."""
LONGEST = 30.0


class StartBackoff:
    """Counts failed starts. `waiting` is true during the pause after one."""

    def __init__(self) -> None:
        self.failures = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        return self._timer is not None

    def failed(self, again: Callable[[], None]) -> None:
        """Note a failure; `again` is called when the pause is over."""
        self.failures += 1
        pause = min(LONGEST, FIRST * 2.0 ** (self.failures - 1))
        if self._timer is not None:
            self._timer.cancel()

        def over() -> None:
            self._timer = None
            again()

        self._timer = asyncio.get_running_loop().call_later(pause, over)

    def succeeded(self) -> None:
        """Forget the failures: a child started."""
        self.failures = 0
        self.cancel()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
