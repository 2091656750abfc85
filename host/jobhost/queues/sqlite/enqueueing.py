"""Jobs in a transaction of the user's, on a connection to the same file: they are there if and only if it commits.

Nothing tells of that commit: hosts find out by their look at the file, once a second.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobhost.errors import ConfigurationError

from ..drivers import driver_of
from ..job import NewJob
from ..seam import Added
from .adding import add_jobs
from .transaction import Transaction


class _Plain:
    """A user's connection whose rows are tuples, whatever it makes of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._cursor().execute(statement, values)

    def executemany(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return self._cursor().executemany(statement, values)


async def add(given: Any, path: Path, now: int, jobs: Sequence[NewJob]) -> list[Added]:
    """Add jobs. Raises ConfigurationError for a connection to anything else, and what sqlite3 raises."""
    connection = await driver_of(given)
    if not isinstance(connection, sqlite3.Connection):
        text = "is no connection of sqlite3, nor a session of SQLAlchemy over it (sqlite:///…)"
        raise ConfigurationError(f"conn: {type(given).__module__}.{type(given).__qualname__} {text}")
    _check_file(connection, path)
    if not connection.in_transaction:
        if connection.isolation_level is None:
            raise ConfigurationError("conn: the connection commits each statement: execute BEGIN on it first")
        connection.execute("BEGIN IMMEDIATE")  # as sqlite3 itself does before a statement that writes
    tx = Transaction(_Plain(connection), now, ())
    added = add_jobs(tx, jobs)
    tx.finish()
    return added


def _check_file(connection: sqlite3.Connection, path: Path) -> None:
    files = {name: file for _, name, file in _Plain(connection).execute("PRAGMA database_list")}
    if not files["main"] or not os.path.samefile(files["main"], path):
        text = f"is to {files['main'] or 'memory'} and the queues are in {path}"
        raise ConfigurationError(f"conn: the connection {text}: only what is in one file commits together")
