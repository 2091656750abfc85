"""Flows in the file: the `FlowStore` of one commit, and what is asked of flows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..delivery import Delivery, Source
from ..flows import (
    EVENTS_KEPT,
    FLOW_STATUSES,
    FlowEvent,
    FlowInfo,
    FlowStatus,
    NewFlow,
    Subscriber,
    subscriptions_of,
)
from ..job import Event, Job, Json, NewJob, PublishedHandler
from ..seam import Added
from . import keys
from .rows import JOB, job

if TYPE_CHECKING:
    from .transaction import Transaction

_FLOW = "id, name, status, started_at, finished_at, parent, events, data, error"
_CODES = {status: code for code, status in enumerate(FLOW_STATUSES)}
_READ = f"SELECT {_FLOW} FROM flows WHERE id = ?"
_INSERT = f"INSERT INTO flows ({_FLOW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE = "UPDATE flows SET status = ?, finished_at = ?, events = ?, error = ? WHERE id = ?"
"""Without its data, which may be long and never changes."""
_EVENTS = "INSERT INTO flow_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LIVES = "SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_in_flow WHERE flow_id = ? AND finished_at IS NULL)"
_RUNNING_UNDER = "SELECT id FROM flows INDEXED BY flows_under WHERE parent = ? AND status = 0"
_UNMET = """SELECT DISTINCT j.handler FROM flow_joins j WHERE j.flow = ?1 AND EXISTS (SELECT 1 FROM subscriptions s
WHERE s.handler = j.handler AND s.joins IS NOT NULL AND s.trigger NOT IN
(SELECT k.trigger FROM flow_joins k WHERE k.flow = ?1 AND k.handler = j.handler AND k.key = j.key)) ORDER BY j.handler"""
SWEPT = 500
"""Flows forgotten in one commit."""


class JobRef(NamedTuple):
    """A job as the source of an emit."""

    queue: str
    id: str
    created_at: int


class Flows:
    """The flows of one commit. A flow's row is read once and written once, and all events are written together: what a commit costs
    is its statements."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._execute = tx.execute
        self._flows: dict[str, FlowInfo | None] = {}
        self._there: set[str] = set()
        """Flows whose row is there already."""
        self._changed: dict[str, FlowInfo] = {}
        self._events: list[tuple[object, ...]] = []
        self._fed: set[str] = set()
        """Flows that have got a job in this commit: there is no need to ask whether they live."""
        self._subscribers: dict[str, list[Subscriber]] = {}
        self.delivery = Delivery(self)

    @property
    def now(self) -> int:
        return self._tx.now

    def flow(self, id: str) -> FlowInfo | None:
        if id not in self._flows:
            row = self._execute(_READ, (id,)).fetchone()
            self._flows[id] = None if row is None else flow_of_row(row)
            if row is not None:
                self._there.add(id)
        return self._flows[id]

    def keep_flow(self, flow: FlowInfo) -> None:
        self._flows[flow.id] = self._changed[flow.id] = flow

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
        self._changed[flow.id] = flow
        self._events.append((flow.id, flow.events, self.now, type, step, attempt, queue, job, data))

    def subscribers(self, trigger: str) -> Sequence[Subscriber]:
        found = self._subscribers.get(trigger)
        if found is None:
            rows = self._execute(
                "SELECT handler, queue, joins FROM subscriptions WHERE trigger = ? ORDER BY handler", (trigger,)
            )
            found = [Subscriber(row[0], row[1], tuple(json.loads(row[2])) if row[2] else ()) for row in rows]
            self._subscribers[trigger] = found
        return found

    def first_emit(self, source: Source, emit: str) -> bool:
        values = (source.queue, source.id, emit)
        return self._execute("INSERT OR IGNORE INTO emitted VALUES (?, ?, ?)", values).rowcount > 0

    def join(self, flow: str, handler: str, key: str, trigger: str, payload: Json) -> bool:
        values = (flow, handler, key, trigger, payload)
        return self._execute("INSERT OR IGNORE INTO flow_joins VALUES (?, ?, ?, ?, ?)", values).rowcount > 0

    def joined(self, flow: str, handler: str, key: str) -> dict[str, Json]:
        select = "SELECT trigger, payload FROM flow_joins WHERE flow = ? AND handler = ? AND key = ?"
        return dict(self._execute(select, (flow, handler, key)).fetchall())

    def unmet(self, flow: str) -> list[str]:
        return [handler for (handler,) in self._execute(_UNMET, (flow,))]

    def add(self, job: NewJob) -> Added:
        from .adding import add_job

        added = add_job(self._tx, job)
        if added.created and job.flow_id is not None:
            self._fed.add(job.flow_id)
        return added

    def lives(self, flow: str) -> bool:
        if flow in self._fed or self._execute(_LIVES, (flow,)).fetchone()[0]:
            return True
        known = [one for one in self._changed.values() if one.parent == flow]
        if any(one.status == "running" for one in known):
            return True
        ended = {one.id for one in known}
        return any(id not in ended for (id,) in self._execute(_RUNNING_UNDER, (flow,)))

    def failed(self, flow: str, source: Source, failed: bool) -> None:
        values = (flow, source.queue, source.id)
        if failed:
            self._execute("INSERT OR IGNORE INTO flow_failures VALUES (?, ?, ?)", values)
        else:
            self._execute("DELETE FROM flow_failures WHERE flow = ? AND queue = ? AND job = ?", values)

    def has_failed(self, flow: str) -> bool:
        return self._execute("SELECT 1 FROM flow_failures WHERE flow = ? LIMIT 1", (flow,)).fetchone() is not None

    def finish(self) -> None:
        """End flows that have nothing left, and write what is done once a commit."""
        self.delivery.finish()
        if self._events:
            self._tx.execute_many(_EVENTS, self._events)
        for flow in self._changed.values():
            status = _CODES[flow.status]
            if flow.id in self._there:
                self._execute(_UPDATE, (status, flow.finished_at, flow.events, flow.error, flow.id))
            else:
                values = (flow.id, flow.name, status, flow.started_at, flow.finished_at, flow.parent)
                self._execute(_INSERT, (*values, flow.events, flow.data, flow.error))
            if flow.events > EVENTS_KEPT:
                self._execute("DELETE FROM flow_events WHERE flow = ? AND n <= ?", (flow.id, flow.events - EVENTS_KEPT))
            if "flow" in self._tx.wanted:
                self._tx.events.append(Event("flow", "", flow.id, flow.name, self.now))
        if self.delivery.failed and "flow_failed" in self._tx.wanted:
            self._tx.events += [Event("flow_failed", "", id, name, self.now) for id, name in self.delivery.failed]


def flow_of_row(row: tuple[object, ...]) -> FlowInfo:
    """Make a flow of a row."""
    made = FlowInfo(*row)  # type: ignore[arg-type]
    made.status = FLOW_STATUSES[row[2]]  # type: ignore[call-overload]
    return made


# Writing ----------------------------------------------------------------------------------------------------------


def start(tx: Transaction, flow: NewFlow) -> tuple[bool, int]:
    """Begin a flow."""
    return tx.flows.delivery.start(flow)


def cancel(tx: Transaction, id: str) -> bool:
    """End a flow as cancelled."""
    return tx.flows.delivery.cancel(id)


def reopen(tx: Transaction, id: str) -> bool:
    """Let a flow run again."""
    return tx.flows.delivery.reopen(id)


def sweep(tx: Transaction, state_before: int | None, ended_before: int) -> int:
    """Forget flows and their state, some at a time."""
    for (id,) in tx.execute("SELECT id FROM flows INDEXED BY flows_running WHERE status = 0").fetchall():
        tx.flows.delivery.touched(id)
    ended = """SELECT id FROM flows INDEXED BY flows_ended WHERE finished_at IS NOT NULL AND finished_at < ?
    AND NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_in_flow WHERE flow_id = flows.id AND finished_at IS NULL) LIMIT ?"""
    gone = [id for (id,) in tx.execute(ended, (ended_before, SWEPT))]
    for table, column in (("flow_events", "flow"), ("flow_joins", "flow"), ("flow_failures", "flow"), ("flows", "id")):
        tx.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (json.dumps(gone),))
    scopes = [] if state_before is None else [f"flow:{id}" for id in gone]
    if state_before is not None:
        select = """SELECT scope FROM (SELECT DISTINCT scope FROM state WHERE scope >= 'flow:' AND scope < 'flow;')
        WHERE substr(scope, 6) IN (SELECT id FROM flows WHERE finished_at < ?)"""
        scopes += [scope for (scope,) in tx.execute(select, (state_before,))]
    tx.execute("DELETE FROM state WHERE scope IN (SELECT value FROM json_each(?))", (json.dumps(scopes),))
    return len(gone)


def subscribe(tx: Transaction, handlers: Sequence[PublishedHandler]) -> None:
    """Keep what handlers subscribe to."""
    unsubscribe(tx, [handler.name for handler in handlers])
    for handler in handlers:
        for trigger, subscriber in subscriptions_of(handler):
            joins = json.dumps(subscriber.joins) if subscriber.joins else None
            values = (trigger, subscriber.handler, subscriber.queue, joins)
            tx.execute("INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?)", values)


def unsubscribe(tx: Transaction, names: Sequence[str]) -> None:
    """Forget what handlers subscribe to."""
    tx.execute(
        "DELETE FROM subscriptions WHERE handler IN (SELECT value FROM json_each(?))", (json.dumps(list(names)),)
    )


def unpublish(tx: Transaction, names: Sequence[str]) -> int:
    """Forget handlers."""
    unsubscribe(tx, names)
    keys.unpublish(tx, names)
    values = (json.dumps(list(names)),)
    return tx.execute("DELETE FROM handlers WHERE name IN (SELECT value FROM json_each(?))", values).rowcount


# Looking ----------------------------------------------------------------------------------------------------------


def info(db: sqlite3.Connection, id: str) -> FlowInfo | None:
    """Give a flow."""
    row = db.execute(_READ, (id,)).fetchone()
    return None if row is None else flow_of_row(row)


def page(
    db: sqlite3.Connection, name: str | None, statuses: Sequence[FlowStatus], limit: int, cursor: str | None
) -> tuple[list[FlowInfo], str | None]:
    """Give flows, the newest first."""
    where, values = [], list[object]()
    if name is not None:
        where.append("name = ?")
        values.append(name)
    if statuses:
        where.append(f"status IN ({', '.join(str(_CODES[status]) for status in statuses)})")
    if cursor is not None:
        at, _, id = cursor.partition(".")
        where.append("(started_at, id) < (?, ?)")
        values += [int(at), id]
    which = f"WHERE {' AND '.join(where)}" if where else ""
    select = f"SELECT {_FLOW} FROM flows INDEXED BY flows_listed {which} ORDER BY started_at DESC, id DESC LIMIT ?"
    found = [flow_of_row(row) for row in db.execute(select, (*values, limit + 1))]
    shown = found[:limit]
    return shown, f"{shown[-1].started_at}.{shown[-1].id}" if len(found) > limit else None


def children(db: sqlite3.Connection, id: str) -> list[FlowInfo]:
    """Give its sub-flows."""
    select = f"SELECT {_FLOW} FROM flows WHERE parent = ? ORDER BY started_at, id"
    return [flow_of_row(row) for row in db.execute(select, (id,))]


def jobs(db: sqlite3.Connection, id: str) -> list[Job]:
    """Give its jobs."""
    select = f"SELECT {JOB} FROM jobs INDEXED BY jobs_in_flow WHERE flow_id = ? ORDER BY seq"
    return [job(row) for row in db.execute(select, (id,))]


def events(db: sqlite3.Connection, id: str, after: int, limit: int) -> list[FlowEvent]:
    """Give events above a number."""
    select = """SELECT e.flow, f.name, e.n, e.ts, e.type, e.step, e.attempt, e.queue, e.job, e.data FROM flow_events e
    LEFT JOIN flows f ON f.id = e.flow WHERE e.flow = ? AND e.n > ? ORDER BY e.n LIMIT ?"""
    return [FlowEvent(*row) for row in db.execute(select, (id, after, limit))]
