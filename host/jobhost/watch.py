"""Waiting for jobs to change: one stream of events for each queue, however many wait, and a look at the job now and then.

Events make it quick, and looking makes it sure: an event may be lost, what `get` says is so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from jobhost.errors import BackendUnavailableError
from jobhost.queues.job import Event
from jobhost.queues.seam import Backend

FIRST_LOOK = 0.05
LONGEST_LOOK = 1.0
"""Seconds until a waiter looks for itself: soon at first, since an event may pass while the stream opens, then more seldom."""

Key = tuple[str, str]


class JobWatch:
    """Tells waiters about their jobs. Its streams live while somebody waits."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiters: dict[Key, set[asyncio.Queue[Event]]] = {}
        self._streams: dict[str, asyncio.Task[None]] = {}

    async def changes(self, queue: str, id: str) -> AsyncGenerator[Event | None, None]:
        """Yield None at once, then every event of the job, and None whenever it is time to look. Ends never: leave it."""
        mine: asyncio.Queue[Event] = asyncio.Queue()
        self._waiters.setdefault((queue, id), set()).add(mine)
        if queue not in self._streams:
            self._streams[queue] = asyncio.get_running_loop().create_task(self._stream(queue))
        pause = FIRST_LOOK
        try:
            yield None
            while True:
                try:
                    async with asyncio.timeout(pause):
                        event = await mine.get()
                except TimeoutError:
                    pause = min(LONGEST_LOOK, pause * 2)
                    yield None
                else:
                    yield event
        finally:
            self._leave(queue, id, mine)

    async def _stream(self, queue: str) -> None:
        # A backend that is gone ends the stream; the waiters learn of it by looking, and their error says so.
        with contextlib.suppress(BackendUnavailableError):
            async for event in self._backend.events(queue):
                for waiter in self._waiters.get((queue, event.job_id or ""), ()):
                    waiter.put_nowait(event)

    def _leave(self, queue: str, id: str, mine: asyncio.Queue[Event]) -> None:
        waiters = self._waiters[(queue, id)]
        waiters.discard(mine)
        if not waiters:
            del self._waiters[(queue, id)]
        if not any(key[0] == queue for key in self._waiters) and (stream := self._streams.pop(queue, None)):
            stream.cancel()

    async def close(self) -> None:
        """End the streams."""
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
