"""A connection that comes back: what its thread asks for while the server is gone fails at once, and each ask may try again.

The server's planner has nothing to choose here: each statement has an index that serves it, and the statistics of a queue are wrong a
second after they were taken. So what would walk a table or sort one is turned off, and plans are kept.
"""

from __future__ import annotations

import os
import socket
import time

import psycopg

from jobhost.errors import BackendUnavailableError

from .address import Address
from .faults import in_words
from .schema import prepare
from .texts import adapt

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds for which a server that could not be reached is left alone."""

LOCK_MS = 250
"""How long one transaction waits for the rows of another: a producer's own may last."""

_SETTINGS = {
    "client_encoding": "UTF8",
    "lock_timeout": str(LOCK_MS),
    "idle_in_transaction_session_timeout": "60000",
    "default_transaction_isolation": "read committed",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class Link:
    """One connection, used by one thread. `sorts`: whether its statements may have to sort."""

    def __init__(self, address: Address, sorts: bool = False) -> None:
        self._address = address
        self._sorts = sorts
        self._connection: psycopg.Connection | None = None
        self._pause = 0.0
        self._not_before = 0.0
        self._fault: BackendUnavailableError | None = None

    def close(self) -> None:
        """Let go of the connection; the next ask makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def shut(self) -> None:
        """From another thread: end a wait for a server that says nothing. The connection is of no use afterwards."""
        connection = self._connection
        try:
            if connection is not None:
                with socket.socket(fileno=os.dup(connection.fileno())) as same:
                    same.shutdown(socket.SHUT_RDWR)
        except (psycopg.Error, OSError):
            pass  # it was just closed

    def connection(self) -> psycopg.Connection:
        """The connection, a new one if there is none. Raises BackendUnavailableError, without a try if the last one was just now."""
        if self._connection is not None:
            if not (self._connection.closed or self._connection.broken):
                return self._connection
            self.close()
        if self._fault is not None and time.monotonic() < self._not_before:
            raise self._fault
        return self._connect()

    def _connect(self) -> psycopg.Connection:
        try:
            connection = connect(self._address)
            try:
                if not self._sorts:
                    connection.execute("SET enable_sort = off")
                prepare(connection, self._address)
            except BaseException:
                connection.close()
                raise
        except (psycopg.Error, OSError, BackendUnavailableError) as error:
            self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))
            self._not_before = time.monotonic() + self._pause
            fault = in_words(error, self._address.where)
            if isinstance(fault, BackendUnavailableError):
                self._fault = fault
            raise fault from error
        self._pause, self._fault = 0.0, None
        self._connection = connection
        return connection


def connect(address: Address) -> psycopg.Connection:
    """Open a connection that reads and writes as this backend does. Raises psycopg.Error."""
    connection = psycopg.connect(address.conninfo, autocommit=True, prepare_threshold=0)
    try:
        connection.prepared_max = 500
        adapt(connection.adapters)
        settings = {**_SETTINGS, "search_path": address.schema}
        names, values = list(settings), list(settings.values())
        select = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)"
        connection.execute(select, (names, values), prepare=False)
    except BaseException:
        connection.close()
        raise
    return connection
