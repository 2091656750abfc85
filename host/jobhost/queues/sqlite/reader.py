"""The desk that looks: its connection sees what was committed when it is asked, and holds up nobody."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..desk import Desk, Order
from .faults import in_words, roll_back
from .schema import connect_reader


class Reader(Desk[sqlite3.Connection, sqlite3.Connection]):
    """Runs reads."""

    def __init__(self, path: Path, busy_ms: int) -> None:
        super().__init__(f"the queue file {path}")
        self._path = path
        self._busy_ms = busy_ms

    def _connect(self) -> sqlite3.Connection:
        return connect_reader(self._path, self._busy_ms)

    def _in_words(self, error: Exception) -> Exception:
        return in_words(error, self._path)

    def _serve(self, connection: sqlite3.Connection, orders: list[Order[sqlite3.Connection]]) -> None:
        for order in orders:
            self._read(connection, order)
        self.tell(_deliver, orders)

    def _read(self, connection: sqlite3.Connection, order: Order[sqlite3.Connection]) -> None:
        """Run one read; all its statements see one state of the file."""
        try:
            connection.execute("BEGIN")
            order.run(connection)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            order.error = self._in_words(error)
        finally:
            roll_back(connection)


def _deliver(orders: list[Order[sqlite3.Connection]]) -> None:
    for order in orders:
        order.deliver()
