"""Fires schedules: sleeps until the next one comes due, and lets each give its jobs.

Every host does it. Who is quicker fires a tick; the others find that it has been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config.schedules import source_of
from ..errors import BackendUnavailableError
from ..queues.clock import Clock, unix_ms
from ..queues.schedules import Schedule, begun, firing
from ..queues.seam import Backend

if TYPE_CHECKING:
    from .host import Host

LOOK = 1.0
"""Seconds after which schedules are looked at all the same: others add some, and a look is one short read."""
AT_ONCE = 100
"""Due schedules that are read together."""


class Scheduler:
    """One a host."""

    def __init__(self, backend: Backend, log: Any, trouble: Any, clock: Clock = unix_ms) -> None:
        self._clock = clock
        self._backend = backend
        self.log = log
        self._trouble = trouble

    async def run(self) -> None:
        """For ever."""
        while True:
            pause = LOOK
            try:
                following = await self.fire_due()
                if following is not None:
                    pause = min(LOOK, max(0, following - self._clock()) / 1000)
            except BackendUnavailableError as error:
                self._trouble(error)
            await asyncio.sleep(pause)

    async def fire_due(self, now: int | None = None) -> int | None:
        """Fire all that is due; gives when (Unix ms) the next one comes due. `now`: of a test's clock."""
        while True:
            due, following = await self._backend.due_schedules(AT_ONCE)
            at = self._clock() if now is None else now
            fired = 0
            for schedule in due:
                fired += await self._fire(schedule, at)
            if not fired:
                return following

    async def _fire(self, schedule: Schedule, now: int) -> bool:
        """Fire one schedule; False if there was nothing to do."""
        try:
            due = firing(schedule, now)
        except ValueError as error:  # its time zone, say, is not known on this machine
            self.log.error("schedule.broken", schedule=schedule.id, error=str(error))
            return False
        if due is None:
            return False
        fired = await self._backend.fire(due)
        if fired is None:
            return True  # another host was quicker, and there may be more
        if fired.skipped:
            self.log.warning("schedule.skipped", schedule=schedule.id, ticks=fired.skipped, overlap=schedule.overlap)
        if fired.replaced is not None:
            await self._backend.cancel(*fired.replaced)
        return True


async def serve_schedules(host: Host) -> None:
    """Take in the schedules of the configuration, once it is known which queues their handlers have, and fire what is due, for ever."""
    if host.config.schedules:
        await host.bundles.loaded()
        queues = {entry.name: entry.queue for entry in host.catalogue.entries}
        source = source_of(host.config)
        written = [
            one.schedule(id, queues.get(one.job or id, "default"), source) for id, one in host.config.schedules.items()
        ]
        taken = False
        while not taken:
            try:
                await take_in(host.backend, written, source, host.clock(), host.log)
                taken = True
            except BackendUnavailableError as error:
                host.backend_trouble(error)
                await asyncio.sleep(LOOK)
    await Scheduler(host.backend, host.log, host.backend_trouble, host.clock).run()


async def take_in(backend: Backend, written: Sequence[Schedule], source: str, now: int, log: Any) -> None:
    """Bring the schedules of a configuration into the store: new and changed ones are put, those that it no longer has are removed."""
    there = {schedule.id: schedule for schedule in await backend.schedules()}
    for schedule in written:
        before = there.get(schedule.id)
        if schedule.bullmq and before is not None and before.definition[:7] == schedule.definition[:7]:
            continue  # as it stands, its other workers may be about to make its next job
        after = begun(schedule, now, before)
        if after != before:
            await backend.put_schedule(after)
            log.info("schedule.put", schedule=schedule.id, handler=schedule.name)
    names = {schedule.id for schedule in written}
    for schedule in there.values():
        if schedule.source == source and schedule.id not in names and await backend.remove_schedule(schedule.id):
            log.info("schedule.removed", schedule=schedule.id)
