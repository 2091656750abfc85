"""Flows of the memory backend, in dictionaries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..clock import Clock
from ..delivery import Delivery, Source
from ..feed import Feed
from ..flows import EVENTS_KEPT, FlowEvent, FlowInfo, FlowStatus, Subscriber, subscriptions_of
from ..job import Event, Json, NewJob, PublishedHandler
from ..seam import Added
from .record import Record

Place = tuple[str, str]
"""Queue and id of a job."""


class MemoryFlows:
    """The `FlowStore` of the memory backend, and what is asked of flows."""

    def __init__(self, clock: Clock, add: Callable[[NewJob], Added], feed: Feed) -> None:
        self._clock = clock
        self._add = add
        self._feed = feed
        self._flows: dict[str, FlowInfo] = {}
        self._events: dict[str, list[FlowEvent]] = {}
        self._jobs: defaultdict[str, dict[Place, Record]] = defaultdict(dict)
        """The jobs of each flow that are there, in the order they came to it."""
        self._live: defaultdict[str, int] = defaultdict(int)
        self._children: defaultdict[str, set[str]] = defaultdict(set)
        self._joins: defaultdict[str, dict[tuple[str, str], dict[str, Json]]] = defaultdict(dict)
        self._failures: defaultdict[str, set[Place]] = defaultdict(set)
        self._emitted: dict[Place, set[str]] = {}
        self._subscribers: defaultdict[str, dict[str, Subscriber]] = defaultdict(dict)
        self._of_handler: dict[str, list[str]] = {}
        self._news: dict[str, FlowInfo] = {}
        self._woken: set[str] = set()
        self.delivery = Delivery(self)

    @property
    def now(self) -> int:
        return self._clock()

    # What `Delivery` asks ------------------------------------------------------------------------------------------

    def flow(self, id: str) -> FlowInfo | None:
        return self._flows.get(id)

    def keep_flow(self, flow: FlowInfo) -> None:
        self._flows[flow.id] = flow
        if flow.parent is not None:
            running = self._children[flow.parent]
            (running.add if flow.status == "running" else running.discard)(flow.id)

    def happened(
        self,
        flow: FlowInfo,
        type: str,
        step: str | None,
        attempt: int,
        queue: str | None,
        job: str | None,
        data: Json | None,
    ) -> None:
        flow.events += 1
        events = self._events.setdefault(flow.id, [])
        events.append(FlowEvent(flow.id, flow.name, flow.events, self.now, type, step, attempt, queue, job, data))
        if len(events) > EVENTS_KEPT + EVENTS_KEPT // 10:
            del events[:-EVENTS_KEPT]
        self._news[flow.id] = flow

    def subscribers(self, trigger: str) -> Sequence[Subscriber]:
        return [self._subscribers[trigger][name] for name in sorted(self._subscribers.get(trigger, ()))]

    def first_emit(self, source: Source, emit: str) -> bool:
        emitted = self._emitted.setdefault((source.queue, source.id), set())
        if emit in emitted:
            return False
        emitted.add(emit)
        return True

    def join(self, flow: str, handler: str, key: str, trigger: str, payload: Json) -> bool:
        there = self._joins[flow].setdefault((handler, key), {})
        if trigger in there:
            return False
        there[trigger] = payload
        return True

    def joined(self, flow: str, handler: str, key: str) -> dict[str, Json]:
        return self._joins[flow].get((handler, key), {})

    def unmet(self, flow: str) -> list[str]:
        needs = {one.handler: one.joins for some in self._subscribers.values() for one in some.values()}
        return sorted(
            {
                handler
                for (handler, _), there in self._joins.get(flow, {}).items()
                if any(trigger not in there for trigger in needs.get(handler, ()))
            }
        )

    def add(self, job: NewJob) -> Added:
        self._woken.add(job.queue)
        return self._add(job)

    def lives(self, flow: str) -> bool:
        return self._live[flow] > 0 or bool(self._children.get(flow))

    def failed(self, flow: str, source: Source, failed: bool) -> None:
        failures = self._failures[flow]
        (failures.add if failed else failures.discard)((source.queue, source.id))

    def has_failed(self, flow: str) -> bool:
        return bool(self._failures.get(flow))

    # What the backend tells ----------------------------------------------------------------------------------------

    def begins(self, record: Record) -> None:
        """A job of a flow has been added, or runs again."""
        if record.flow_id is not None:
            self._jobs[record.flow_id][record.queue, record.id] = record
            self._live[record.flow_id] += 1
            self.delivery.has(record.flow_id, record.flow_name)

    def ends(self, record: Record) -> None:
        """A job has finished, or is gone before it did."""
        if record.flow_id is not None:
            self._live[record.flow_id] -= 1
            self.delivery.touched(record.flow_id)

    def joins(self, record: Record, id: str, name: str | None) -> None:
        """A job that runs belongs to a flow from now on."""
        record.flow_id, record.flow_name = id, name
        self.begins(record)

    def deleted(self, record: Record) -> None:
        """A job that has ended is there no more."""
        self._emitted.pop((record.queue, record.id), None)
        if record.flow_id is not None:
            self._jobs[record.flow_id].pop((record.queue, record.id), None)

    def finish(self) -> None:
        """The end of one operation."""
        if self.delivery.idle:
            return
        self.delivery.finish()
        woken, self._woken = self._woken, set()
        news, self._news = self._news, {}
        self._feed.wake(woken)
        if "flow" in self._feed.wanted:
            self._feed.publish(Event("flow", "", one.id, one.name, self.now) for one in news.values())
        if self.delivery.failed and "flow_failed" in self._feed.wanted:
            self._feed.publish(Event("flow_failed", "", id, name, self.now) for id, name in self.delivery.failed)
        self.delivery.failed = []

    # What others ask -----------------------------------------------------------------------------------------------

    def publish(self, handlers: Sequence[PublishedHandler]) -> None:
        self.forget([handler.name for handler in handlers])
        for handler in handlers:
            lines = subscriptions_of(handler)
            self._of_handler[handler.name] = [line.trigger for line in lines]
            for line in lines:
                self._subscribers[line.trigger][handler.name] = line.subscriber

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            for trigger in self._of_handler.pop(name, ()):
                del self._subscribers[trigger][name]

    def info(self, id: str) -> FlowInfo | None:
        flow = self._flows.get(id)
        return replace(flow) if flow is not None else None

    def page(
        self, name: str | None, statuses: Sequence[FlowStatus], limit: int, cursor: str | None
    ) -> tuple[list[FlowInfo], str | None]:
        found = [
            flow
            for flow in self._flows.values()
            if (name is None or flow.name == name) and (not statuses or flow.status in statuses)
        ]
        found.sort(key=flow_order, reverse=True)
        left = [flow for flow in found if cursor is None or flow_order(flow) < cursor]
        page = [replace(flow) for flow in left[:limit]]
        return page, flow_order(page[-1]) if page and len(left) > limit else None

    def jobs(self, id: str) -> list[Record]:
        return sorted(self._jobs.get(id, {}).values(), key=lambda record: record.seq)

    def children(self, id: str) -> list[FlowInfo]:
        return sorted((replace(flow) for flow in self._flows.values() if flow.parent == id), key=flow_order)

    def events(self, id: str, after: int, limit: int) -> list[FlowEvent]:
        events = self._events.get(id, [])
        first = events[0].n if events else 1
        start = max(0, after + 1 - first)
        return events[start : start + limit]

    def look(self) -> None:
        """End running flows that have nothing left."""
        for flow in self._flows.values():
            if flow.status == "running":
                self.delivery.touched(flow.id)
        self.finish()

    def ended(self, before: int) -> list[str]:
        """Flows that ended before that."""
        return [flow.id for flow in self._flows.values() if flow.finished_at is not None and flow.finished_at < before]

    def sweep(self, ended_before: int) -> list[str]:
        """Forget flows that ended before that; gives them."""
        gone = [id for id in self.ended(ended_before) if not self.lives(id)]
        for id in gone:
            flow = self._flows.pop(id)
            if flow.parent is not None:
                self._children[flow.parent].discard(id)
            for table in (self._events, self._jobs, self._live, self._children, self._joins, self._failures):
                table.pop(id, None)
        return gone


def flow_order(flow: FlowInfo) -> str:
    """Where a flow stands in listings: a text, so that it is a cursor too."""
    return f"{flow.started_at:013d}.{flow.id}"
