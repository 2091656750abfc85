"""Tells the others which handlers this host has, and who subscribes to what; until that is done no emit is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import BackendUnavailableError
from ..queues.job import PublishedHandler

if TYPE_CHECKING:
    from .host import Host

PAUSE = 0.5
"""Seconds before handlers are published again after the backend could not be reached."""


class Publisher:
    """One a host. `done`: every bundle has answered or given up, and what they hold is published."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._left: list[PublishedHandler] = []
        self._task: asyncio.Task[None] | None = None
        self.done = asyncio.Event()

    def publish(self, handlers: Sequence[PublishedHandler] = ()) -> None:
        """Publish soon."""
        self._left += handlers
        if self._left:
            self.done.clear()
        if self._task is None or self._task.done():
            self._task = self._host.spawn(self._work())

    async def _work(self) -> None:
        host = self._host
        while self._left:
            some, self._left = self._left, []
            try:
                await host.backend.publish(some)
            except BackendUnavailableError as error:
                self._left = some + self._left
                host.backend_trouble(error)
                await asyncio.sleep(PAUSE)
        if host.all_loaded:
            self.done.set()
            host.held.release()
            host.poke_all()
