"""Flows in the tables: the `FlowStore` of one commit, and what is asked of flows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..delivery import Delivery, Source
from ..flows import (
    EVENTS_KEPT,
    FLOW_STATUSES,
    Emit,
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
from .texts import blobs, numbers, words

if TYPE_CHECKING:
    from .reader import Look
    from .transaction import Transaction

_FLOW = "id, name, status, started_at, finished_at, parent, events, data, error"
_CODES = {status: code for code, status in enumerate(FLOW_STATUSES)}
_READ = f"SELECT {_FLOW} FROM flows WHERE id = %s"
_READ_ALL = f"SELECT {_FLOW} FROM flows WHERE id = ANY(%s::text[])"
_INSERT = f"""INSERT INTO flows ({_FLOW}) SELECT * FROM unnest(%s::text[], %s::text[], %s::smallint[], %s::bigint[],
%s::bigint[], %s::text[], %s::bigint[], %s::bytea[], %s::bytea[])"""
_UPDATE = """UPDATE flows SET status = u.status, finished_at = u.finished_at, events = u.events, error = u.error
FROM unnest(%s::text[], %s::smallint[], %s::bigint[], %s::bigint[], %s::bytea[]) AS u (id, status, finished_at, events, error)
WHERE flows.id = u.id"""
"""Without its data, which may be long and never changes."""
_EVENTS = """INSERT INTO flow_events (flow, n, ts, type, step, attempt, queue, job, data) SELECT * FROM unnest(
%s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::integer[], %s::text[], %s::text[], %s::bytea[])"""
_ROW: tuple[Callable[[Iterable[Any]], str], ...] = (
    *(words, words, numbers, numbers, numbers, words, numbers),
    *(blobs, blobs),
)
_COLUMNS: tuple[Callable[[Iterable[Any]], str], ...] = (
    words,
    numbers,
    numbers,
    words,
    words,
    numbers,
    words,
    words,
    blobs,
)
_LIVES = """SELECT flow FROM unnest(%s::text[]) AS u (flow)
WHERE EXISTS (SELECT 1 FROM jobs WHERE flow_id = u.flow AND finished_at IS NULL)"""
_EMITTED = """INSERT INTO emitted SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])
ON CONFLICT DO NOTHING RETURNING queue, job, emit"""
# Not `status = 0`, for which the planner would walk the index of all that run.
_RUNNING_UNDER = "SELECT id FROM flows WHERE parent = %s AND status < 1"
_UNMET = """SELECT DISTINCT j.handler FROM flow_joins j WHERE j.flow = %s AND EXISTS (SELECT 1 FROM subscriptions s
WHERE s.handler = j.handler AND s.joins IS NOT NULL AND s.trigger NOT IN
(SELECT k.trigger FROM flow_joins k WHERE k.flow = j.flow AND k.handler = j.handler AND k.key = j.key)) ORDER BY j.handler"""
SWEPT = 500
"""Flows forgotten in one commit."""


class JobRef(NamedTuple):
    """A job as the source of an emit."""

    queue: str
    id: str
    created_at: int


class Flows:
    """The flows of one commit, each held until then. A flow's row is read once and written once, and all events are written together:
    what a commit costs is its statements."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._execute = tx.execute
        self._flows: dict[str, FlowInfo | None] = {}
        self._there: set[str] = set()
        """Flows whose row is there already."""
        self._changed: dict[str, FlowInfo] = {}
        self._events: list[tuple[Any, ...]] = []
        self._fed: set[str] = set()
        """Flows that have got a job in this commit: there is no need to ask whether they live."""
        self._new: list[NewJob] = []
        """Jobs that are added together, before it is asked which flows have ended."""
        self._alive: dict[str, bool] = {}
        self._first: dict[tuple[str, str, str], bool] = {}
        self._subscribers: dict[str, list[Subscriber]] = {}
        self.delivery = Delivery(self)

    @property
    def now(self) -> int:
        return self._tx.now

    def hold(self, ids: Collection[str]) -> None:
        """Hold and read several at once. Before jobs of theirs are changed: whoever looks whether a flow has ended shall see them."""
        wanted = [id for id in ids if id not in self._flows]
        if not wanted:
            return
        self._tx.lock("flow", *wanted)
        self._flows.update(dict.fromkeys(wanted))
        for row in self._execute(_READ_ALL, (words(wanted),)).fetchall():
            self._flows[row[0]] = flow_of_row(row)
            self._there.add(row[0])

    def flow(self, id: str) -> FlowInfo | None:
        self.hold((id,))
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
            select = "SELECT handler, queue, joins FROM subscriptions WHERE trigger = %s ORDER BY handler"
            rows = self._execute(select, (trigger,)).fetchall()
            found = [Subscriber(row[0], row[1], tuple(json.loads(row[2])) if row[2] else ()) for row in rows]
            self._subscribers[trigger] = found
        return found

    def expect(self, emits: Sequence[tuple[Source, Emit]]) -> None:
        """Note emits that are about to be delivered, all at once; `first_emit` knows of them then."""
        heard = [(source, emit) for source, emit in emits if not emit.implied or self.subscribers(emit.trigger)]
        keys = [(job.queue, job.id, emit.id(job.queue, job.id, job.created_at)) for job, emit in heard]
        if keys:
            self._first.update(dict.fromkeys(keys, False))
            columns = [words(column) for column in zip(*keys, strict=True)]
            self._first.update((tuple(row), True) for row in self._execute(_EMITTED, columns).fetchall())

    def first_emit(self, source: Source, emit: str) -> bool:
        key = (source.queue, source.id, emit)
        if key not in self._first:
            values = [words([part]) for part in key]
            return self._execute(_EMITTED, values).rowcount > 0
        first, self._first[key] = self._first[key], False
        return first

    def join(self, flow: str, handler: str, key: str, trigger: str, payload: Json) -> bool:
        insert = "INSERT INTO flow_joins VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
        return self._execute(insert, (flow, handler, key, trigger, payload)).rowcount > 0

    def joined(self, flow: str, handler: str, key: str) -> dict[str, Json]:
        select = "SELECT trigger, payload FROM flow_joins WHERE flow = %s AND handler = %s AND key = %s"
        return dict(self._execute(select, (flow, handler, key)).fetchall())

    def unmet(self, flow: str) -> list[str]:
        return [handler for (handler,) in self._execute(_UNMET, (flow,)).fetchall()]

    def add(self, job: NewJob) -> Added:
        """Add a job before the commit; that it is new is taken for granted until then."""
        assert job.id is not None, "a job that follows from something has an id that follows too"
        self._new.append(job)
        if job.flow_id is not None:
            self._fed.add(job.flow_id)
        return Added(job.id, True, self.now)

    def _add(self) -> None:
        from .adding import add_jobs

        jobs, self._new = self._new, []
        if jobs:
            added = add_jobs(self._tx, jobs)
            created = {job.flow_id for job, one in zip(jobs, added, strict=True) if one.created}
            self._fed -= {job.flow_id for job in jobs if job.flow_id is not None} - created

    def _look(self) -> None:
        """Ask which flows have jobs left, of all that may have ended at once."""
        asked = [flow for flow in self.delivery.concerned if flow not in self._fed]
        if asked:
            self._alive = dict.fromkeys(asked, False)
            self._alive.update((flow, True) for (flow,) in self._execute(_LIVES, (words(asked),)).fetchall())

    def lives(self, flow: str) -> bool:
        if flow in self._fed:
            return True
        alive = self._alive.get(flow)
        if alive if alive is not None else self._execute(_LIVES, (words([flow]),)).fetchall():
            return True
        known = [one for one in self._changed.values() if one.parent == flow]
        if any(one.status == "running" for one in known):
            return True
        ended = {one.id for one in known}
        return any(id not in ended for (id,) in self._execute(_RUNNING_UNDER, (flow,)).fetchall())

    def failed(self, flow: str, source: Source, failed: bool) -> None:
        values = (flow, source.queue, source.id)
        if failed:
            self._execute("INSERT INTO flow_failures VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", values)
        else:
            self._execute("DELETE FROM flow_failures WHERE flow = %s AND queue = %s AND job = %s", values)

    def has_failed(self, flow: str) -> bool:
        return self._execute("SELECT 1 FROM flow_failures WHERE flow = %s LIMIT 1", (flow,)).fetchone() is not None

    def finish(self) -> None:
        """End flows that have nothing left, and write what is done once a commit."""
        while self._new or not self.delivery.idle:
            self._add()
            self._look()
            self.delivery.finish()
        if self._events:
            columns = zip(*self._events, strict=True)
            self._execute(_EVENTS, [join(column) for join, column in zip(_COLUMNS, columns, strict=True)])
        self._write()
        for flow in self._changed.values():
            if flow.events > EVENTS_KEPT:
                values = (flow.id, flow.events - EVENTS_KEPT)
                self._execute("DELETE FROM flow_events WHERE flow = %s AND n <= %s", values)
            if "flow" in self._tx.wanted:
                self._tx.events.append(Event("flow", "", flow.id, flow.name, self.now))
        if self.delivery.failed and "flow_failed" in self._tx.wanted:
            self._tx.events += [Event("flow_failed", "", id, name, self.now) for id, name in self.delivery.failed]

    def _write(self) -> None:
        made = [flow for flow in self._changed.values() if flow.id not in self._there]
        if made:
            rows = [(f.id, f.name, _CODES[f.status], f.started_at, f.finished_at, f.parent) for f in made]
            more = [(flow.events, flow.data, flow.error) for flow in made]
            columns = zip(*(row + rest for row, rest in zip(rows, more, strict=True)), strict=True)
            self._execute(_INSERT, [join(column) for join, column in zip(_ROW, columns, strict=True)])
        if there := [flow for flow in self._changed.values() if flow.id in self._there]:
            self._execute(
                _UPDATE,
                (
                    *(words(flow.id for flow in there), numbers(_CODES[flow.status] for flow in there)),
                    *(numbers(flow.finished_at for flow in there), numbers(flow.events for flow in there)),
                    blobs(flow.error for flow in there),
                ),
            )


def flow_of_row(row: tuple[Any, ...]) -> FlowInfo:
    """Make a flow of a row."""
    made = FlowInfo(*row)
    made.status = FLOW_STATUSES[row[2]]
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


def silent(look: Look) -> list[str]:
    """Running flows none of whose jobs and sub-flows is left, as far as can be seen from outside."""
    select = """SELECT id FROM flows WHERE status = 0
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE flow_id = flows.id AND finished_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM flows AS sub WHERE sub.parent = flows.id AND sub.status < 1) LIMIT %s"""
    return [id for (id,) in look(select, (SWEPT,))]


def sweep(tx: Transaction, silent: Sequence[str], state_before: int | None, ended_before: int) -> int:
    """Forget flows and their state, some at a time. `silent`: flows that may have ended without a word."""
    tx.flows.hold(silent)
    for id in silent:
        tx.flows.delivery.touched(id)
    ended = """SELECT id FROM flows WHERE finished_at IS NOT NULL AND finished_at < %s
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE flow_id = flows.id AND finished_at IS NULL) LIMIT %s"""
    found = [id for (id,) in tx.execute(ended, (ended_before, SWEPT)).fetchall()]
    tx.flows.hold(found)
    gone = [id for (id,) in tx.execute(ended, (ended_before, SWEPT)).fetchall() if id in found]
    for table, column in (("flow_events", "flow"), ("flow_joins", "flow"), ("flow_failures", "flow"), ("flows", "id")):
        tx.execute(f"DELETE FROM {table} WHERE {column} = ANY(%s::text[])", (words(gone),))
    scopes = [] if state_before is None else [f"flow:{id}" for id in gone]
    if state_before is not None:
        select = """SELECT scope FROM (SELECT DISTINCT scope FROM state WHERE scope >= 'flow:' AND scope < 'flow;') AS s
        WHERE substr(scope, 6) IN (SELECT id FROM flows WHERE finished_at < %s)"""
        scopes += [scope for (scope,) in tx.execute(select, (state_before,)).fetchall()]
    tx.execute("DELETE FROM state WHERE scope = ANY(%s::text[])", (words(scopes),))
    return len(gone)


def subscribe(tx: Transaction, handlers: Sequence[PublishedHandler]) -> None:
    """Keep what handlers subscribe to."""
    unsubscribe(tx, [handler.name for handler in handlers])
    insert = """INSERT INTO subscriptions VALUES (%s, %s, %s, %s)
    ON CONFLICT (trigger, handler) DO UPDATE SET queue = excluded.queue, joins = excluded.joins"""
    for handler in handlers:
        for trigger, subscriber in subscriptions_of(handler):
            joins = json.dumps(subscriber.joins) if subscriber.joins else None
            tx.execute(insert, (trigger, subscriber.handler, subscriber.queue, joins))


def unsubscribe(tx: Transaction, names: Sequence[str]) -> None:
    """Forget what handlers subscribe to. One host at a time: hosts that start at once publish the same."""
    tx.lock("handlers", "")
    tx.execute("DELETE FROM subscriptions WHERE handler = ANY(%s::text[])", (words(names),))


def unpublish(tx: Transaction, names: Sequence[str]) -> int:
    """Forget handlers."""
    unsubscribe(tx, names)
    keys.unpublish(tx, names)
    return tx.execute("DELETE FROM handlers WHERE name = ANY(%s::text[])", (words(names),)).rowcount


# Looking ----------------------------------------------------------------------------------------------------------


def info(look: Look, id: str) -> FlowInfo | None:
    """Give a flow."""
    rows = look(_READ, (id,))
    return flow_of_row(rows[0]) if rows else None


def page(
    look: Look, name: str | None, statuses: Sequence[FlowStatus], limit: int, cursor: str | None
) -> tuple[list[FlowInfo], str | None]:
    """Give flows, the newest first."""
    where, values = [], list[object]()
    if name is not None:
        where.append("name = %s")
        values.append(name)
    if statuses:
        where.append(f"status IN ({', '.join(str(_CODES[status]) for status in statuses)})")
    if cursor is not None:
        at, _, id = cursor.partition(".")
        where.append("(started_at, id) < (%s, %s)")
        values += [int(at), id]
    which = f"WHERE {' AND '.join(where)}" if where else ""
    select = f"SELECT {_FLOW} FROM flows {which} ORDER BY started_at DESC, id DESC LIMIT %s"
    found = [flow_of_row(row) for row in look(select, (*values, limit + 1))]
    shown = found[:limit]
    return shown, f"{shown[-1].started_at}.{shown[-1].id}" if len(found) > limit else None


def children(look: Look, id: str) -> list[FlowInfo]:
    """Give its sub-flows."""
    select = f"SELECT {_FLOW} FROM flows WHERE parent = %s ORDER BY started_at, id"
    return [flow_of_row(row) for row in look(select, (id,))]


def jobs(look: Look, id: str) -> list[Job]:
    """Give its jobs."""
    return [job(row) for row in look(f"SELECT {JOB} FROM jobs WHERE flow_id = %s ORDER BY seq", (id,))]


def events(look: Look, id: str, after: int, limit: int) -> list[FlowEvent]:
    """Give events above a number."""
    select = """SELECT e.flow, f.name, e.n, e.ts, e.type, e.step, e.attempt, e.queue, e.job, e.data FROM flow_events e
    LEFT JOIN flows f ON f.id = e.flow WHERE e.flow = %s AND e.n > %s ORDER BY e.n LIMIT %s"""
    return [FlowEvent(*row) for row in look(select, (id, after, limit))]
