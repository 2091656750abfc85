"""What became of a commit whose answer never came.

The server is asked, once it is there again: it knows what became of each transaction. After a crash it may have given the number of one
that was lost to another, so something that is so after the commit only is looked at too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import psycopg

from jobhost.errors import BackendUnavailableError

if TYPE_CHECKING:
    from .link import Link
    from .transaction import Transaction

Verdict = Literal["committed", "aborted", "unknown"]

PATIENCE = 5.0
"""Seconds for which a server is waited for; whoever asked for something waits as long."""

STEP = 0.05
"""Seconds between two looks."""

MOST = 10_000
"""Claims that are remembered as doubtful, the youngest."""

_STATUS = "SELECT pg_xact_status(%s::text::xid8)"


class InDoubt(Exception):  # noqa: N818 - it tells of a state
    """The connection broke while the server committed."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx


def verdict(link: Link, tx: Transaction) -> Verdict:
    """Ask what became of a transaction, on a new connection."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            connection = link.connection()
            status = status_of(connection, tx.xid)
            if status == "committed":
                return "committed" if _shows(connection, tx) else "unknown"
            if status != "in progress":
                return "aborted" if status == "aborted" else "unknown"
        except (psycopg.Error, BackendUnavailableError):
            pass  # not there yet
        time.sleep(STEP)
    return "unknown"


def status_of(connection: psycopg.Connection, xid: str) -> str | None:
    """The server's word on a transaction; None if it does not know it (any more)."""
    try:
        row = connection.execute(_STATUS, (xid,)).fetchone()
    except psycopg.errors.InvalidParameterValue:  # it is yet to come: the server lost it
        return None
    return None if row is None else row[0]


def _shows(connection: psycopg.Connection, tx: Transaction) -> bool:
    if tx.witness is None:
        return True
    query, values = tx.witness
    return connection.execute(query.encode(), values).fetchone() == (True,)


class Doubts:
    """Claims that were settled by commits of which it is not known whether they were: who tries again is told so if they were."""

    def __init__(self) -> None:
        self._xids: dict[str, str] = {}

    def add(self, tx: Transaction) -> None:
        self._xids.update(dict.fromkeys(tx.settled, tx.xid))
        for token in list(self._xids)[: max(0, len(self._xids) - MOST)]:
            del self._xids[token]

    def were_settled(self, connection: psycopg.Connection, token: str) -> bool:
        xid = self._xids.get(token)
        return xid is not None and status_of(connection, xid) == "committed"
