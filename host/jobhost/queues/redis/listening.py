"""What a handle hears of others: the markers of queues that have work, the streams of events, requests to cancel."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine
from contextlib import aclosing
from typing import Any

import structlog

from jobhost.errors import BackendUnavailableError, JobhostError

from ..job import Event
from . import looking
from .client import Client
from .connection import Arg
from .jobs import pairs
from .store import Store

POLL = 1.0
"""Seconds for which a marker is waited for; then the queue is looked at all the same."""
OLDEST = 6
"""The BullMQ whose layout is written here."""
_VERSION = re.compile(rb"bullmq:(\d+)\.")
AGAIN = 0.5
"""Seconds before a server that is gone is asked again."""
TYPES = {
    b"waiting": "waiting",
    b"active": "active",
    b"completed": "completed",
    b"failed": "failed",
    b"progress": "progress",
    b"stalled": "stalled",
    b"removed": "removed",
    b"drained": "drained",
    b"delayed": "delayed",
    b"paused": "paused",
    b"resumed": "resumed",
}


OURS = ":w:jobhost"
"""Ends the names of our connections: BullMQ's workers may have names of their own, in this form."""


def worker_name(prefix: str, queue: str) -> str:
    """The name by which BullMQ's `getWorkers` and dashboards find a worker's blocking connection."""
    return f"{prefix}:{base64.b64encode(queue.encode()).decode()}"


async def foreign_workers(store: Store, queue: str) -> list[str]:
    """Workers of a queue that are not ours, by address. A server that lists no clients is taken at its word."""
    base = worker_name(store.prefix, queue)
    try:
        listed = (await store.client.call("CLIENT", "LIST")).decode("utf-8", "replace")
    except JobhostError:
        return []
    found = []
    for line in listed.splitlines():
        facts = dict(word.partition("=")[::2] for word in line.split(" "))
        name = facts.get("name", "")
        if (name == base or name.startswith(f"{base}:w:")) and not name.endswith(OURS):
            found.append(
                f"{name.removeprefix(base).removeprefix(':w:') or 'a BullMQ worker'} at {facts.get('addr', '?')}"
            )
    return found


class Markers:
    """Waits for one queue's marker, on a connection of its own. A pop is never cancelled: that would lose the marker."""

    def __init__(self, store: Store, queue: str, wake: Callable[[str], None]) -> None:
        self._store = store
        self._queue = queue
        self._wake = wake
        self._client = store.listener(worker_name(store.prefix, queue) + OURS)
        self._task = asyncio.get_running_loop().create_task(self._work())
        self.claimed = asyncio.Event()
        """Somebody here has looked at the queue since the last marker."""

    def stop(self) -> None:
        self._task.cancel()

    async def stopped(self) -> None:
        await asyncio.gather(self._task, return_exceptions=True)
        await self._store.dismiss(self._client)

    async def _say_layout(self) -> None:
        """Queues of BullMQ 4 and 5 keep paused jobs and markers elsewhere: they are worked, and it is said once."""
        version = await self._client.call("HGET", self._store.keys(self._queue).meta, "version")
        found = _VERSION.match(version or b"")
        if found and int(found[1]) < OLDEST:
            log = structlog.get_logger("jobhost")
            log.warning(
                "queue.older_layout",
                queue=self._queue,
                version=version.decode(),
                hint="a paused queue of it gives its jobs only once it is resumed by a BullMQ of the same age",
            )

    async def _work(self) -> None:
        said = False
        while True:
            try:
                if not said:
                    await self._say_layout()
                    said = True
                popped = await self._client.call(
                    "BZPOPMIN", self._store.keys(self._queue).marker, POLL, timeout=POLL + 5
                )
            except JobhostError:  # gone, or refusing: whoever claims says which; here nothing may end the waiting
                await asyncio.sleep(AGAIN)
                continue
            self.claimed.clear()
            self._wake(self._queue)
            if popped is not None and popped[1] == b"0":
                await self._pass_on()

    async def _pass_on(self) -> None:
        """A marker wakes one worker. If this host has no place for a job now, another one may have."""
        try:
            async with asyncio.timeout(0.05):
                await self.claimed.wait()
        except TimeoutError:
            with contextlib.suppress(JobhostError):
                await self._store.client.call("ZADD", self._store.keys(self._queue).marker, 0, "0")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self.claimed.wait()


async def cancels(store: Store) -> AsyncIterator[Event]:
    """Requests to cancel running jobs, from any process."""
    async with aclosing(_messages(store, "cancel")) as messages:
        async for message in messages:
            queue, id, name, ts, attempt = json.loads(message)
            yield Event("cancel", queue, id, name, ts, attempt)


async def flows(store: Store) -> AsyncIterator[Event]:
    """Flows in which something has happened, by any process."""
    async with aclosing(_messages(store, "flow")) as messages:
        async for message in messages:
            for id in json.loads(message):
                yield Event("flow", "", id, None, store.clock())


async def failed_flows(store: Store) -> AsyncIterator[Event]:
    """Flows that have failed, by any process."""
    async with aclosing(_messages(store, "flow_failed")) as messages:
        async for message in messages:
            id, name, ts = json.loads(message)
            yield Event("flow_failed", "", id, name or None, int(ts))


async def _messages(store: Store, channel: str) -> AsyncGenerator[bytes, None]:
    """What is published on a channel of ours, from the moment on at which the subscription stands."""
    client = store.listener()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    try:
        while not store.closed:
            try:
                connection = await client.connection()
                connection.on_message = heard.put_nowait
                await connection.call("SUBSCRIBE", store.shared(channel))
                while not connection.closed:
                    try:
                        async with asyncio.timeout(POLL):
                            message = await heard.get()
                    except TimeoutError:
                        continue
                    yield message[2]
            except BackendUnavailableError:
                await _pause(store)
    finally:
        await store.dismiss(client)


async def events(store: Store, queue: str | None, types: Collection[str]) -> AsyncIterator[Event]:
    """The queue's streams of events, as any worker writes them. They do not say which attempt they are about."""
    client = store.listener()
    last: dict[str, bytes] = {}
    since = b"%d" % store.server_now()
    last_time = False
    try:
        while not last_time:
            reading = asyncio.get_running_loop().create_future()
            store.reading.add(reading)
            try:
                await _look_around(store, queue, last, since)
                found = await _read(store, client, last, 1000 if queue is not None else 100)
                if store.closed:
                    last_time = True
                    await _look_around(store, queue, last, since)
                    found += await _read(store, client, last, 0)
            except BackendUnavailableError:
                last_time = store.closed
                await _pause(store)
                continue
            finally:
                store.reading.discard(reading)
                reading.set_result(None)
            for event in found:
                if not types or event.type in types:
                    yield event
    finally:
        await store.dismiss(client)


async def _look_around(store: Store, queue: str | None, last: dict[str, bytes], since: bytes) -> None:
    """Which streams there are by now; each is read from the moment on at which somebody began to listen."""
    for name in [queue] if queue is not None else await looking.queue_names(store):
        last.setdefault(name, since)


async def _unless_closing(store: Store, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`, or None as soon as the backend is being closed."""
    task, closing = asyncio.ensure_future(work), asyncio.ensure_future(store.closing.wait())
    try:
        await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, closing):
            each.cancel()
        await asyncio.gather(task, closing, return_exceptions=True)


async def _pause(store: Store) -> None:
    if not store.closed:
        await asyncio.sleep(AGAIN)


async def _read(store: Store, client: Client, last: dict[str, bytes], block_ms: int) -> list[Event]:
    streams = {store.keys(name).events.encode(): name for name in last}
    if not streams and store.closed:
        return []
    if not streams:
        await _unless_closing(store, asyncio.sleep(block_ms / 1000))
        return []
    where: list[Arg] = ["STREAMS", *streams, *last.values()]
    if store.closed:
        reply = await store.client.call("XREAD", *where)
    else:
        patience = block_ms / 1000 + 5
        reply = await _unless_closing(store, client.call("XREAD", "BLOCK", block_ms, *where, timeout=patience))
    read: list[tuple[str, bytes, dict[bytes, bytes]]] = []
    for stream, entries in reply or ():
        for id, flat in entries:
            last[streams[stream]] = id
            read.append((streams[stream], id, pairs(flat)))
    about = [(name, fields.get(b"jobId", b"").decode()) for name, _, fields in read]
    jobs = await store.client.calls([("HMGET", store.keys(name).job(id), "name", "jh", "atm") for name, id in about])
    events = (_event(*entry, job) for entry, job in zip(read, jobs, strict=True))
    return [event for event in events if event is not None]


def _event(queue: str, id: bytes, fields: dict[bytes, bytes], job: Any) -> Event | None:
    type = TYPES.get(fields.get(b"event", b""))
    if type is None:
        return None
    name, ours, made = job if isinstance(job, list) else (None, None, None)
    data = None
    attempt = int(made or 0) if type in ("completed", "failed") else 0
    if type == "completed":
        data = fields.get(b"returnvalue")
    elif type == "progress":
        data = fields.get(b"data")
    elif type == "failed":
        data = _failure(fields.get(b"failedReason", b"").decode("utf-8", "replace"), ours)
    job_id = fields[b"jobId"].decode() if b"jobId" in fields else None
    return Event(type, queue, job_id, name.decode() if name else None, int(id.split(b"-")[0]), attempt, data)


def _failure(reason: str, ours: bytes | None) -> bytes:
    """The error whole, if the job has kept it; else what the event says."""
    error = json.loads(ours).get("error") if ours else None
    if not isinstance(error, dict) or str(error.get("message", "")) != reason:
        error = {"message": reason}
    return json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")).encode()
