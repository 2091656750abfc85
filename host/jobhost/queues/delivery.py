"""What becomes of a flow when one of its jobs is added, emits or ends: the rules of memory and SQLite, in one place.

A `Delivery` lives as long as one commit; the store under it is a few reads and writes of that commit. `flow.lua` says the same for
Redis. A flow ends in the commit after which none of its jobs and sub-flows is left to end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from .flows import (
    STARTS,
    SUBFLOW,
    Emit,
    FlowInfo,
    FlowStatus,
    InFlow,
    NewFlow,
    Subscriber,
    derived_job,
    joined_data,
    joined_job,
    shown,
    started_flow,
)
from .job import Json, NewJob
from .outcomes import CANCELLED
from .seam import Added


class Source(Protocol):
    """The job that something comes from."""

    @property
    def queue(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> int: ...


class FlowStore(Protocol):
    """What one commit of a store can do with flows."""

    @property
    def now(self) -> int:
        """Unix ms."""

    def flow(self, id: str) -> FlowInfo | None:
        """A flow; what is changed in it is kept by `keep_flow`."""

    def keep_flow(self, flow: FlowInfo) -> None: ...

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
        """Append an event under the flow's next number."""

    def subscribers(self, trigger: str) -> Sequence[Subscriber]:
        """By name of the handler."""

    def first_emit(self, source: Source, emit: str) -> bool:
        """Note that a job has emitted this; False if it has before."""

    def join(self, flow: str, handler: str, key: str, trigger: str, payload: Json) -> bool:
        """Keep the first payload of a trigger; False if there was one."""

    def joined(self, flow: str, handler: str, key: str) -> dict[str, Json]:
        """The payloads that are there, by trigger."""

    def unmet(self, flow: str) -> list[str]:
        """Handlers whose join never got all it waits for."""

    def add(self, job: NewJob) -> Added: ...

    def lives(self, flow: str) -> bool:
        """Whether a job or a sub-flow of it has not ended."""

    def failed(self, flow: str, source: Source, failed: bool) -> None:
        """Note that a job's failure counts, or counts no more."""

    def has_failed(self, flow: str) -> bool: ...


class Delivery:
    """The flows of one commit."""

    def __init__(self, store: FlowStore) -> None:
        self._store = store
        self._touched: dict[str, None] = {}
        self.failed: list[tuple[str, str | None]] = []
        """Flows that this commit lets end as failed: id and name."""

    @property
    def idle(self) -> bool:
        """No flow is concerned so far."""
        return not self._touched

    @property
    def concerned(self) -> list[str]:
        """Flows that `finish` looks at."""
        return list(self._touched)

    # Jobs and flows ------------------------------------------------------------------------------------------------

    def start(self, new: NewFlow) -> tuple[bool, int]:
        """Begin a flow; whether it is new, and how many first steps it has."""
        if self._store.flow(new.id) is not None:
            return False, 0
        flow = FlowInfo(new.id, new.name, "running", self._store.now, parent=new.parent, data=new.data)
        self._begin(flow)
        first = self._store.subscribers(STARTS + new.name) if new.first is None else new.first
        for each in first:
            self._add(flow, each, derived_job(new.id, each.handler), new.data)
        return True, len(first)

    def _begin(self, flow: FlowInfo) -> None:
        self._store.keep_flow(flow)
        self._happened(flow, "flow.started", data=shown("data", flow.data))

    def has(self, id: str, name: str | None) -> FlowInfo:
        """A flow that a job belongs to: made if it is not there, running again if it had ended by itself."""
        flow = self._store.flow(id)
        if flow is None:
            flow = FlowInfo(id, name, "running", self._store.now)
            self._begin(flow)
        elif flow.status in ("completed", "failed"):
            flow.status, flow.finished_at, flow.error = "running", None, None
            self._store.keep_flow(flow)
            if flow.parent is not None:
                self._store.failed(flow.parent, _FlowSource(flow), False)
                self.has(flow.parent, None)
        self._touched[id] = None
        return flow

    def touched(self, id: str | None) -> None:
        """Something of the flow is gone: it may have ended."""
        if id is not None:
            self._touched[id] = None

    def again(self, source: Source, id: str | None, name: str | None) -> None:
        """A finished job of a flow is to run again."""
        if id is not None:
            self._store.failed(id, source, False)
            self.has(id, name)

    # Runs ----------------------------------------------------------------------------------------------------------

    def event(self, place: InFlow, type: str, source: Source, attempt: int, data: Json | None) -> None:
        """Tell of a job of a flow that is there. It may be told late, by a host that lost the job: the flow is left as it is."""
        flow = self._store.flow(place.id)
        if flow is not None:
            self._happened(flow, type, place.step, attempt, source, data)

    def tell(self, id: str, type: str, data: Json | None) -> None:
        """An event that is of no job."""
        flow = self._store.flow(id)
        if flow is not None:
            self._happened(flow, type, data=data)

    def ended(
        self,
        place: InFlow,
        source: Source,
        attempt: int,
        emits: Sequence[Emit],
        result: Json | None,
        error: Json | None,
        failed: bool,
    ) -> list[str]:
        """A job has ended for good, with all its emits; gives the triggers that nobody subscribes to."""
        flow = self.has(place.id, place.name)
        if failed:
            self._happened(flow, "step.failed", place.step, attempt, source, shown("error", error))
            if place.counts:
                self._store.failed(flow.id, source, True)
                if flow.error is None:
                    flow.error = error
                    self._store.keep_flow(flow)
        else:
            self._happened(flow, "step.completed", place.step, attempt, source, shown("result", result))
        return self.emit(place, source, attempt, emits)

    def emit(self, place: InFlow, source: Source, attempt: int, emits: Sequence[Emit]) -> list[str]:
        """Give each subscriber its job; gives the triggers that nobody subscribes to."""
        flow = self.has(place.id, place.name)
        unmatched = []
        for emit in emits:
            if not self._emit(flow, place.step, source, attempt, emit):
                unmatched.append(emit.trigger)
        return unmatched

    def _emit(self, flow: FlowInfo, step: str | None, source: Source, attempt: int, emit: Emit) -> bool:
        id = emit.id(source.queue, source.id, source.created_at)
        subscribers = () if emit.starts else self._store.subscribers(emit.trigger)
        if emit.implied and not subscribers:
            return True
        if not isinstance(source, _FlowSource) and not self._store.first_emit(source, id):
            return True
        told = {"trigger": emit.trigger, **({} if emit.key is None else {"key": emit.key})}
        if flow.status == "cancelled":
            self._told(flow, "step.ignored", step, source, attempt, {**told, "reason": "the flow was cancelled"})
            return True
        if emit.starts:
            child = NewFlow(started_flow(id), emit.trigger, emit.payload, flow.id)
            self._told(flow, "step.emitted", step, source, attempt, {"starts": emit.trigger, "flow_id": child.id})
            new, first = self.start(child)
            return first > 0 or not new
        made: list[list[str]] = []
        waiting: list[str] = []
        ignored: list[str] = []
        for each in subscribers:
            if not each.joins:
                made.append(self._add(flow, each, derived_job(id, each.handler), emit.payload))
            elif not self._store.join(flow.id, each.handler, emit.key or "", emit.trigger, emit.payload):
                ignored.append(each.handler)
            elif (job := self._complete(flow, each, emit.key or "")) is not None:
                made.append(job)
            else:
                waiting.append(each.handler)
        self._told(
            flow,
            "step.emitted",
            step,
            source,
            attempt,
            {**told, "to": made, **({"waiting": waiting} if waiting else {})},
        )
        for handler in ignored:
            reason = f"{handler} has its {emit.trigger} already"
            self._told(flow, "step.ignored", handler, source, attempt, {**told, "reason": reason})
        return bool(subscribers)

    def _complete(self, flow: FlowInfo, join: Subscriber, key: str) -> list[str] | None:
        """Add a join's job if all it waits for is there."""
        there = self._store.joined(flow.id, join.handler, key)
        if any(trigger not in there for trigger in join.joins):
            return None
        return self._add(flow, join, joined_job(flow.id, join.handler, key), joined_data(join.joins, there))

    def _add(self, flow: FlowInfo, subscriber: Subscriber, id: str, data: Json) -> list[str]:
        self._store.add(NewJob(subscriber.handler, data, subscriber.queue, id, flow_id=flow.id, flow_name=flow.name))
        self._touched[flow.id] = None
        return [subscriber.handler, subscriber.queue, id]

    # Ends ----------------------------------------------------------------------------------------------------------

    def cancel(self, id: str) -> bool:
        """Let a flow end as cancelled; its jobs are the caller's to cancel. False if it does not run."""
        flow = self._store.flow(id)
        if flow is None or flow.status != "running":
            return False
        flow.error = CANCELLED
        self._end(flow, "cancelled")
        return True

    def reopen(self, id: str) -> bool:
        """Let a flow that ended, or was cancelled, run again, since jobs of it will; False if there is none."""
        flow = self._store.flow(id)
        if flow is None:
            return False
        if flow.status == "cancelled":
            flow.status = "failed"
        self.has(id, flow.name)
        del self._touched[id]
        return True

    def finish(self) -> None:
        """End the flows of which nothing is left to end; called once, last in the commit."""
        while self._touched:
            id = next(iter(self._touched))
            del self._touched[id]
            flow = self._store.flow(id)
            if flow is not None and flow.status == "running" and not self._store.lives(id):
                self._end(flow, "failed" if self._store.has_failed(id) else "completed")

    def _end(self, flow: FlowInfo, status: FlowStatus) -> None:
        flow.status = status
        flow.finished_at = self._store.now
        if status == "completed":
            flow.error = None
        self._store.keep_flow(flow)
        if status == "completed":
            unmet = self._store.unmet(flow.id)
            self._happened(flow, "flow.completed", data=json.dumps({"unmet": unmet}).encode() if unmet else None)
        else:
            self._happened(flow, "flow.failed", data=shown("error", flow.error))
            if status == "failed":
                self.failed.append((flow.id, flow.name))
        if flow.parent is not None and (parent := self._store.flow(flow.parent)) is not None:
            self._touched[parent.id] = None
            if status != "completed":
                self._store.failed(parent.id, _FlowSource(flow), True)
                if parent.error is None:
                    parent.error = flow.error
                    self._store.keep_flow(parent)
            if parent.status == "running":
                self._tell_parent(flow, parent)

    def _tell_parent(self, flow: FlowInfo, parent: FlowInfo) -> None:
        failed = "" if flow.status == "completed" else ":failed"
        payload = json.dumps({"flow_id": flow.id, "status": flow.status}, separators=(",", ":")).encode()
        self._emit(parent, None, _FlowSource(flow), 0, Emit(f"{SUBFLOW}{flow.name}{failed}", payload, implied=True))

    def _happened(
        self,
        flow: FlowInfo,
        type: str,
        step: str | None = None,
        attempt: int = 0,
        source: Source | None = None,
        data: Json | None = None,
    ) -> None:
        self._touched[flow.id] = None
        queue, job = (
            (source.queue, source.id) if source is not None and not isinstance(source, _FlowSource) else (None, None)
        )
        self._store.happened(flow, type, step, attempt, queue, job, data)

    def _told(
        self, flow: FlowInfo, type: str, step: str | None, source: Source, attempt: int, data: dict[str, object]
    ) -> None:
        self._happened(flow, type, step, attempt, source, json.dumps(data).encode())


class _FlowSource:
    """A sub-flow as what its end comes from."""

    queue = ""

    def __init__(self, flow: FlowInfo) -> None:
        self.id = flow.id
        self.created_at = flow.finished_at or 0
