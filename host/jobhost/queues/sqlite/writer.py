"""The desk that writes: everything that queued up becomes one transaction, one flush of the disk and one call of the loop.

Other processes write to the same file. Whoever wants to write takes the file's one lock for a commit and tries again in
short, uneven steps while another has it: SQLite's own waiting grows to a tenth of a second, which is many commits.
"""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

from ..clock import Clock
from ..desk import TICK_S, Desk, Order
from ..feed import Feed
from .bell import Bell
from .faults import HOPELESS, fault_code, in_words, roll_back
from .schema import connect_writer
from .transaction import Transaction

RETRY_S = 0.002
"""The longest step between two tries to get the lock."""


class Writer(Desk[sqlite3.Connection, Transaction]):
    """Runs operations in transactions, and tells watchers, subscribers and other processes what came of it."""

    def __init__(self, path: Path, busy_ms: int, clock: Clock, feed: Feed, bell: Bell) -> None:
        super().__init__(f"the queue file {path}")
        self._path = path
        self._busy_ms = busy_ms
        self._clock = clock
        self._feed = feed
        self._bell = bell
        self._version = 0
        self._looked_at = 0.0

    def _connect(self) -> sqlite3.Connection:
        connection = connect_writer(self._path, self._busy_ms)
        self._version = _version(connection)
        return connection

    def _in_words(self, error: Exception) -> Exception:
        return in_words(error, self._path)

    def _serve(self, connection: sqlite3.Connection, orders: list[Order[Transaction]]) -> None:
        """Run orders in one transaction; if it fails by the fault of one of them, each in a transaction of its own."""
        tx: Transaction | None = None
        try:
            tx = self._transact(connection, orders)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            if len(orders) > 1 and fault_code(error) not in HOPELESS:
                for order in orders:
                    self._serve(connection, [order])
                return
            fault = self._in_words(error)
            for order in orders:
                order.error = fault
        self.tell(self._deliver, orders, tx)
        if tx is not None:
            self._bell.ring(tx.woken, tx.events)

    def _transact(self, connection: sqlite3.Connection, orders: list[Order[Transaction]]) -> Transaction:
        self._begin(connection)
        try:
            tx = Transaction(connection, self._clock(), self._bell.wanted(self._feed.wanted))
            for order in orders:
                order.run(tx)
            tx.finish()
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        return tx

    def _begin(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_ms / 1000
        step = 0.0001
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if fault_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(step * random.uniform(0.5, 1.5))
            step = min(2 * step, RETRY_S)

    def _deliver(self, orders: list[Order[Transaction]], tx: Transaction | None) -> None:
        for order in orders:
            order.deliver()
        if tx is not None:
            self._feed.wake(tx.woken)
            self._feed.publish(tx.events)

    def _look_around(self, connection: sqlite3.Connection) -> None:
        """Once a tick wake all watchers if another process has written: a ring of the bell may have been lost."""
        now = time.monotonic()
        if now - self._looked_at < TICK_S:
            return
        self._looked_at = now
        try:
            version = _version(connection)
        except sqlite3.Error:
            return  # the next operation says what is wrong
        if version != self._version:
            self._version = version
            self.tell(self._wake_all)

    def _wake_all(self) -> None:
        self._feed.wake(self._feed.watched)


def _version(connection: sqlite3.Connection) -> int:
    """Changes when another connection has committed."""
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version
