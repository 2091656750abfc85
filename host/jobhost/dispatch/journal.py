"""Log lines and progress of runs on their way to the backend: gathered, bounded, written in batches.

A line is never a reason to wait: when the backend can't keep up the newest are dropped and counted, and the job's log says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jobhost_runtimes.services import Line

from ..errors import BackendUnavailableError
from ..queues.clock import Clock, unix_ms
from ..queues.flows import Happening
from ..queues.job import Lease, LogLine
from ..queues.seam import Backend

EVENT_INTERVAL = 0.01
"""Seconds that events of flows may lie here: others wait for them."""
INTERVAL = 0.05
"""Seconds that lines may lie here."""
MOST_LINES = 10_000


class Journal:
    """One a host. `add` and `progress` never wait; `flush` writes what is there, in order."""

    def __init__(
        self, backend: Backend, on_error: Callable[[BackendUnavailableError], None], clock: Clock = unix_ms
    ) -> None:
        self._clock = clock
        self._backend = backend
        self._on_error = on_error
        self._lines: list[tuple[Lease, LogLine]] = []
        self._progress: dict[Lease, bytes] = {}
        self._dropped: dict[Lease, int] = {}
        self._happenings: list[Happening] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: set[asyncio.Task[None]] = set()

    @property
    def empty(self) -> bool:
        return not (self._lines or self._progress or self._dropped or self._happenings)

    def add(self, lease: Lease, attempt: int, line: Line) -> None:
        if len(self._lines) >= MOST_LINES:
            self._dropped[lease] = self._dropped.get(lease, 0) + 1
            return
        self._lines.append((lease, LogLine(line.ts, line.level, line.message, line.fields, attempt, line.source)))
        self._arm()

    def progress(self, lease: Lease, value: bytes) -> None:
        self._progress[lease] = value
        self._arm()

    def happened(self, one: Happening) -> None:
        """An event of a run in a flow. Of a run's progress the latest counts."""
        last = self._happenings[-1] if self._happenings else None
        if last is not None and last.type == one.type == "step.progress" and last.lease == one.lease:
            self._happenings[-1] = one
        elif len(self._happenings) < MOST_LINES or one.type != "step.progress":
            self._happenings.append(one)
        self._arm(EVENT_INTERVAL)

    def _arm(self, interval: float = INTERVAL) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None and self._timer.when() > loop.time() + interval:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_later(interval, self._due)

    def _due(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self.flush())
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)

    async def flush(self) -> None:
        """Write what has gathered. While the backend is gone lines are dropped and counted: they must not fill the host."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        progress, self._progress = self._progress, {}
        dropped, self._dropped = self._dropped, {}
        happenings, self._happenings = self._happenings, []
        now = self._clock()
        told = [
            (lease, LogLine(now, "warning", f"{count} log line{'s' * (count > 1)} dropped", None, 0, "host"))
            for lease, count in dropped.items()
        ]
        try:
            if happenings:
                await self._backend.happened(happenings)
                happenings = []
            if progress:
                await self._backend.progress(list(progress.items()))
                progress = {}
            if lines or told:
                await self._backend.log(lines + told)
        except BackendUnavailableError as error:
            self._progress = {**progress, **self._progress}
            self._happenings = [*happenings, *self._happenings]
            for lease, _ in lines:
                dropped[lease] = dropped.get(lease, 0) + 1
            for lease, count in dropped.items():
                self._dropped[lease] = self._dropped.get(lease, 0) + count
            self._on_error(error)

    async def close(self) -> None:
        await self.flush()
        await asyncio.gather(*self._flushing)
