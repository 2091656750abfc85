"""How processes wake each other and hear of events: NOTIFY, which is sent with the commit, on one channel for each schema.

A letter is JSON: an array of queues that may have work, or of events, with the handle it comes from in front. Those who want events hold
an advisory lock together as long as they do, so that a commit learns at no cost whether there is anybody, and nobody is taken for a
listener who has died. All handles hear of work and of requests to cancel.
"""

from __future__ import annotations

import asyncio
import json
import select
from collections.abc import Callable, Collection

import psycopg
import structlog
from psycopg import sql

from ..feed import Feed
from ..job import Event
from ..letters import events_in, letters_of
from .address import Address
from .link import connect

CANCEL = "cancel"
LETTER = 7_000
"""Bytes of a letter: NOTIFY takes less than 8,000, and our names may be long."""

MOST_EVENTS = 50_000
"""Events told of one commit: the server keeps letters until all have read them."""

AT_ONCE = 0.05
"""Seconds for which the loop waits for a lock that is always free, so that whoever subscribes hears all that happens from then on."""

AGAIN = 0.5
"""Seconds before a server that is gone is asked again."""


def letters(handle: str, queues: Collection[str], events: list[Event]) -> list[str]:
    """What one commit tells others."""
    told = _queue_letters(sorted(queues)) + list(letters_of(events[:MOST_EVENTS], LETTER))
    return [f"{handle}{letter.decode('utf-8', 'surrogatepass')}" for letter in told if len(letter) < LETTER + 900]


def _queue_letters(queues: list[str]) -> list[bytes]:
    some = [json.dumps(queue) for queue in queues]  # not msgspec's, which knows no half of a pair of surrogates
    step = 50 if sum(map(len, some)) > LETTER else len(some) or 1
    return [f"[{','.join(some[start : start + step])}]".encode() for start in range(0, len(some), step)]


class Ear:
    """The connection that listens, on the loop's thread: nothing is ever waited for on it but once, shortly."""

    def __init__(self, address: Address, feed: Feed, handle: str) -> None:
        self._address = address
        self._feed = feed
        self._handle = handle
        self._key = address.key("events")
        self._connection: psycopg.Connection | None = None
        self._reading = -1
        self._listeners: set[object] = set()
        self._holds = False
        self._task: asyncio.Task[None] | None = None
        self._open = False

    async def open(self) -> None:
        """Listen. Raises psycopg.Error."""
        self._loop = asyncio.get_running_loop()
        self._attach(await self._loop.run_in_executor(None, self._connect))
        self._open = True

    def close(self) -> None:
        self._open = False
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._detach()

    def _connect(self) -> psycopg.Connection:
        connection = connect(self._address)
        try:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._address.channel)))
        except BaseException:
            connection.close()
            raise
        return connection

    def _attach(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._holds = False
        self._reading = connection.fileno()
        self._loop.add_reader(self._reading, self._read)
        self._hold()

    def _detach(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._loop.remove_reader(self._reading)
            connection.close()

    def _read(self) -> None:
        """Take in what came."""
        assert self._connection is not None
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while (found := pgconn.notifies()) is not None:
                self._hear(found.extra)
            while not pgconn.is_busy() and pgconn.get_result() is not None:
                pass  # of locking and unlocking
        except psycopg.Error:
            self._lost()
            return
        self._hold()

    def _hear(self, letter: bytes) -> None:
        handle, text = letter[:8], letter[8:]
        if handle == self._handle.encode():
            return
        try:
            told = json.loads(text)
        except ValueError:
            return  # somebody else's: anybody may notify
        if isinstance(told, list) and told and isinstance(told[0], str):
            self._feed.wake(told)
        else:
            self._feed.publish(events_in([text]))

    # Coming back ------------------------------------------------------------------------------------------------

    def _lost(self) -> None:
        self._detach()
        if self._open and self._task is None:
            self._task = self._loop.create_task(self._come_back())

    async def _come_back(self) -> None:
        """Connect again. What was said meanwhile is lost: all watchers look."""
        while True:
            try:
                connection = await self._loop.run_in_executor(None, self._connect)
            except (psycopg.Error, OSError) as error:
                structlog.get_logger("jobhost").debug("backend.unheard", error=str(error).strip())
                await asyncio.sleep(AGAIN)
                continue
            self._task = None
            if not self._open:
                connection.close()
                return
            self._attach(connection)
            self._feed.wake(self._feed.watched)
            return

    # Wanting events ---------------------------------------------------------------------------------------------

    def listen(self) -> Callable[[], None]:
        """Let others know that events are wanted here; gives the function that ends it."""
        me = object()
        self._listeners.add(me)
        self._hold()

        def stop() -> None:
            self._listeners.discard(me)
            self._hold()

        return stop

    def _hold(self) -> None:
        """Hold the lock, or no longer, as soon as the connection is free for it."""
        wanted = bool(self._listeners)
        if self._connection is None or wanted == self._holds:
            return
        pgconn = self._connection.pgconn
        try:
            if pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                return  # the last change is under way: this one follows its answer
            verb = "pg_advisory_lock_shared" if wanted else "pg_advisory_unlock_shared"
            pgconn.send_query(f"SELECT {verb}({self._key})".encode())
            pgconn.flush()
            self._holds = wanted
            if wanted and select.select([self._reading], [], [], AT_ONCE)[0]:
                self._read()
        except psycopg.Error:
            self._lost()
