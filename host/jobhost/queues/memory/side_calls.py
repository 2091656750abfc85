"""The memory backend's part for what is kept beside the jobs: state, schedules, hosts and handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..job import HostInfo, Json, Lease, NewJob, PublishedHandler
from ..limits import Paths, published_paths
from ..schedules import Fired, Firing, Schedule, is_over, need_ours, settled
from ..seam import Added
from ..state_ops import Result, SingleChanges, StateOp
from .core import Core

HOST_LIVES_MS = 120_000
"""A host that has not sent a heartbeat for so long is not listed."""


class SideCalls(SingleChanges, Core):
    """What is asked beside the jobs."""

    async def add(self, jobs: Sequence[NewJob]) -> list[Added]:
        """The queues' own."""
        raise NotImplementedError

    # Schedules --------------------------------------------------------------------------------------------------

    async def put_schedule(self, schedule: Schedule) -> None:
        need_ours(schedule, "memory://")
        self._schedules[schedule.id] = schedule

    async def schedule(self, id: str) -> Schedule | None:
        return self._schedules.get(id)

    async def schedules(self) -> list[Schedule]:
        return [self._schedules[id] for id in sorted(self._schedules)]

    async def remove_schedule(self, id: str) -> bool:
        return self._schedules.pop(id, None) is not None

    async def due_schedules(self, limit: int) -> tuple[list[Schedule], int | None]:
        now = self._clock()
        by_time = sorted((one.due, one.id) for one in self._schedules.values() if one.due is not None)
        due = [self._schedules[id] for at, id in by_time if at <= now][:limit]
        return due, next((at for at, _ in by_time if at > now), None)

    async def fire(self, firing: Firing) -> Fired | None:
        before = self._schedules.get(firing.schedule.id)
        if before is None or before.tick != firing.before or before.paused:
            return None
        last = self._find(before.queue, before.last_job) if before.last_job is not None else None
        after, jobs, fired = settled(firing, before, last is not None and last[1].finished_at is None)
        if is_over(after):
            del self._schedules[after.id]
        else:
            self._schedules[after.id] = after
        await self.add(jobs)
        return fired

    # State ------------------------------------------------------------------------------------------------------

    async def state_get(self, scope: str, key: str) -> Json | None:
        return self._state.get(scope, key)

    async def state_change(self, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
        self._check(lease)
        return self._state.change(scope, ops)

    async def state_keys(self, scope: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        return self._state.keys(scope, cursor)

    async def state_scopes(self) -> list[str]:
        return self._state.scopes()

    # Hosts ------------------------------------------------------------------------------------------------------

    async def heartbeat(self, host: HostInfo) -> None:
        self._hosts[host.id] = host
        self._state.sweep()

    async def forget_host(self, id: str) -> None:
        self._hosts.pop(id, None)

    async def hosts(self) -> list[HostInfo]:
        oldest = self._clock() - HOST_LIVES_MS
        return sorted((host for host in self._hosts.values() if host.heartbeat_at > oldest), key=lambda host: host.id)

    async def publish(self, handlers: Sequence[PublishedHandler]) -> None:
        self._published.update({handler.name: handler for handler in handlers})
        self._flows.publish(handlers)
        self._keys_are({handler.name: published_paths(handler.info) for handler in handlers})

    async def unpublish(self, names: Sequence[str]) -> int:
        known = [name for name in names if self._published.pop(name, None) is not None]
        self._flows.forget(known)
        self._keys_are(dict.fromkeys(known, ()))
        return len(known)

    def _keys_are(self, told: Mapping[str, Paths]) -> None:
        """Handlers say by which keys their jobs take turns."""
        before = dict(self._paths)
        for name, paths in told.items():
            self._paths.pop(name, None)
            if paths:
                self._paths[name] = paths
        if self._paths != before:
            for shelf in self._shelves.values():
                shelf.resort()

    async def published(self) -> list[PublishedHandler]:
        return sorted(self._published.values(), key=lambda handler: handler.name)
