"""Queues that a pattern names (`[queues."orders-*"]`, `-q 'orders-*'`): served once they are there."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import BackendUnavailableError

if TYPE_CHECKING:
    from .host import Host

LOOK_EVERY = 1.0
"""Seconds between looks for new ones."""


def is_pattern(name: str) -> bool:
    return any(char in name for char in "*?[")


class FoundQueues:
    """One a host. `names`: those that were found so far."""

    def __init__(self, host: Host, named: Iterable[str]) -> None:
        self._host = host
        self._patterns = [name for name in named if is_pattern(name)]
        self.names: set[str] = set()

    async def look(self) -> bool:
        """Look for queues; whether new ones were found."""
        if not self._patterns:
            return False
        before = len(self.names)
        for queue in await self._host.backend.queues():
            if any(fnmatch.fnmatchcase(queue.name, pattern) for pattern in self._patterns):
                self.names.add(queue.name)
        return len(self.names) > before

    async def watch(self) -> None:
        """Serve what appears, for ever."""
        while self._patterns:
            await asyncio.sleep(LOOK_EVERY)
            try:
                if await self.look():
                    self._host.serve_found()
            except BackendUnavailableError as error:
                self._host.backend_trouble(error)
