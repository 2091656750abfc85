"""The memory backend's part for flows."""

from __future__ import annotations

from collections.abc import Sequence

from ..flows import Emit, FlowEvent, FlowInfo, FlowStatus, Happening, InFlow, NewFlow
from ..job import Job, Json, Lease
from .core import Core


class FlowCalls(Core):
    """What is asked of flows."""

    async def start_flow(self, flow: NewFlow) -> tuple[bool, int]:
        started = self._flows.delivery.start(flow)
        self._flows.finish()
        return started

    async def emit(self, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
        self._check(lease)
        record = self._shelves[lease.queue].active[lease.id]
        if record.flow_id is None:
            self._flows.joins(record, place.id, place.name)
        unmatched = self._flows.delivery.emit(place, record, attempt, emits)
        self._flows.finish()
        return unmatched

    async def happened(self, happenings: Sequence[Happening]) -> None:
        for one in happenings:
            found = self._find(one.lease.queue, one.lease.id)
            if found is None:
                continue
            record = found[1]
            if record.flow_id is None and record.finished_at is None:
                self._flows.joins(record, one.place.id, one.place.name)
            self._flows.delivery.event(one.place, one.type, record, one.attempt, one.data)
        self._flows.finish()

    async def flow(self, id: str) -> FlowInfo | None:
        return self._flows.info(id)

    async def flows(
        self, name: str | None = None, statuses: Sequence[FlowStatus] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[FlowInfo], str | None]:
        return self._flows.page(name, statuses, limit, cursor)

    async def flow_children(self, id: str) -> list[FlowInfo]:
        return self._flows.children(id)

    async def flow_jobs(self, id: str) -> list[Job]:
        return [record.snapshot() for record in self._flows.jobs(id)]

    async def flow_events(self, id: str, after: int = 0, limit: int = 1_000) -> list[FlowEvent]:
        return self._flows.events(id, after, limit)

    async def tell_flow(self, id: str, type: str, data: Json | None = None) -> None:
        self._flows.delivery.tell(id, type, data)
        self._flows.finish()

    async def cancel_flow(self, id: str) -> bool:
        cancelled = self._flows.delivery.cancel(id)
        self._flows.finish()
        return cancelled

    async def reopen_flow(self, id: str) -> bool:
        reopened = self._flows.delivery.reopen(id)
        self._flows.finish()
        return reopened

    async def sweep_flows(self, state_before: int | None, ended_before: int) -> int:
        self._flows.look()
        gone = self._flows.sweep(ended_before)
        stale = [] if state_before is None else [*gone, *self._flows.ended(state_before)]
        for id in stale:
            self._state.drop(f"flow:{id}")
        return len(gone)
