"""What can be wrong with a server, in words: what happened, and what to do."""

from __future__ import annotations

import psycopg

from jobhost.errors import BackendUnavailableError

from .address import Where

_ADVICE = {
    "28": "refuses the user or the password: check queue_url, and pg_hba.conf of the server",
    "3D000": "has no such database: create it with `createdb`, or name another in queue_url",
    "42501": "lets this user do too little: {told}; let it own the schema, or create the schema for it",
    "53100": "can't write: its disk is full; free some space, and the queue goes on by itself",
    "53200": "is out of memory: {told}; raise its max_locks_per_transaction or give it more",
    "53300": "has no connection left: raise its max_connections; a host takes three",
    "55P03": "is held up: another transaction keeps rows that this one needs; see which in pg_stat_activity",
    "57P03": "is starting up or shutting down: the queue goes on by itself once it is there",
    "25006": "is read-only: it is a standby, or its default is; name the primary in queue_url",
    "58": "can't read or write its files: {told}; see its log",
    "XX": "failed: {told}; see its log",
}
"""By SQLSTATE, or by its first two letters."""

_REFUSALS = (
    ("authentication failed", "28"),
    ("pg_hba.conf", "28"),
    ("no password supplied", "28"),
    ("role ", "28"),
    ("database ", "3D000"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
)
"""Of what a server says to who connects psycopg gives the words only, and no SQLSTATE."""

TRIED_AGAIN = frozenset({"40001", "40P01", "23505"})
"""Serialization failures, deadlocks, and two that added the same at once: the transaction is done anew, and then sees the other's."""
HELD_UP = "55P03"
"""A lock that did not come within `lock_timeout`."""


def state_of(error: BaseException) -> str:
    """The SQLSTATE of an error, or an empty text."""
    if not isinstance(error, psycopg.Error):
        return ""
    if error.sqlstate is None and "FATAL" in (said := str(error)):
        words = said.partition("FATAL")[2]
        return next((state for part, state in _REFUSALS if part in words), "")
    return error.sqlstate or ""


def is_lost(error: BaseException, connection: psycopg.Connection) -> bool:
    """Whether an error means that the connection is of no use any more."""
    return connection.closed or connection.broken or state_of(error)[:3] in ("57P", "080") or state_of(error) == "25006"


def in_words(error: Exception, where: Where) -> Exception:
    """Put an error of a server or the way to it into a sentence; give any other error as it is."""
    if not isinstance(error, psycopg.Error | OSError):
        return error
    state = state_of(error)
    advice = _ADVICE.get(state) or _ADVICE.get(state[:2])
    if advice is None and state and state[:2] not in ("08", "57"):
        return error  # a mistake of ours
    told = (str(error).strip() or type(error).__name__).splitlines()[0]
    text = (
        advice.format(told=told)
        if advice
        else f"can't be reached: {told}; check that it runs and that queue_url names it"
    )
    fault = BackendUnavailableError(f"the Postgres server {where} {text}")
    fault.__cause__ = error
    return fault
