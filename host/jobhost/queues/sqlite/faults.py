"""What can be wrong with a file, in words: what happened, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from jobhost.errors import BackendUnavailableError

_ADVICE = {
    sqlite3.SQLITE_BUSY: "is locked by another process that does not let go; see which with `fuser {path}`",
    sqlite3.SQLITE_LOCKED: "is locked by another process that does not let go; see which with `fuser {path}`",
    sqlite3.SQLITE_FULL: "can't grow: the disk is full; free some space, and the queue goes on by itself",
    sqlite3.SQLITE_READONLY: "can't be written: make the file and its folder writable for this user",
    sqlite3.SQLITE_PERM: "can't be written: make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: check that its folder exists and is writable for this user",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database: move it away, or give queue_url another file",
    sqlite3.SQLITE_CORRUPT: "is damaged: stop all hosts, keep a copy, and try `sqlite3 {path} .recover`",
    sqlite3.SQLITE_IOERR: "can't be read or written: the disk reports an error; see the kernel's log",
}

HOPELESS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
"""Faults that meet all operations alike: none is worth trying again by itself."""


def fault_code(error: BaseException) -> int:
    """The primary result code of an error of SQLite, or 0."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def in_words(error: Exception, path: Path) -> Exception:
    """Put an error of SQLite or the system into a sentence; give any other error as it is."""
    if not isinstance(error, sqlite3.OperationalError | OSError) and fault_code(error) not in _ADVICE:
        return error
    advice = _ADVICE.get(fault_code(error), f"can't be used: {error}")
    fault = BackendUnavailableError(f"the queue file {path} {advice.format(path=path)}")
    fault.__cause__ = error
    return fault


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction without a trace, if there is one: some errors have ended it already."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # of a damaged file not even that can be said
