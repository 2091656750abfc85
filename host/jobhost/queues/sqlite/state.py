"""State under scopes and keys, hosts, and published handlers: what is kept beside the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobhost.errors import LeaseLostError

from ..job import HostInfo, Lease, PublishedHandler
from ..state_ops import MOST_KEYS, Result, StateOp, Value, changed, too_many
from . import flows, keys
from .rows import fence

if TYPE_CHECKING:
    from .transaction import Transaction

HOST_KEPT_MS = 24 * 3_600_000
"""A host without a heartbeat for so long is forgotten; it is no longer listed long before."""

_SET = """INSERT INTO state (scope, key, value, expires_at) VALUES (?, ?, ?, ?)
ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"""
_SET_FENCED = """INSERT INTO state (scope, key, value, expires_at) SELECT ?1, ?2, ?3, ?4
WHERE EXISTS (SELECT 1 FROM jobs WHERE seq = ?5 AND token = ?6)
AND (EXISTS (SELECT 1 FROM state WHERE scope = ?1 AND key = ?2)
OR (SELECT count(*) FROM (SELECT 1 FROM state WHERE scope = ?1 LIMIT ?7)) < ?8)
ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"""
_LIVE = "SELECT value, expires_at FROM state WHERE scope = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)"


def _check(tx: Transaction, lease: Lease | None) -> None:
    held = "SELECT 1 FROM jobs WHERE seq = ? AND token = ?"
    if lease is not None and tx.execute(held, fence(lease.token)).fetchone() is None:
        raise LeaseLostError


def change(tx: Transaction, scope: str, ops: Sequence[StateOp], lease: Lease | None) -> list[Result]:
    """Make changes, all or none."""
    if len(ops) == 1 and ops[0].verb == "set" and lease is not None and _set_fenced(tx, scope, ops[0], lease):
        return [None]
    _check(tx, lease)
    before: dict[str, Value | None] = {}

    def read(key: str) -> Value | None:
        before[key] = found = tx.execute(_LIVE, (scope, key, tx.now)).fetchone()
        return found  # type: ignore[no-any-return]

    there, results = changed(ops, read, tx.now)
    if new := sum(value is not None and before[key] is None for key, value in there.items()):
        _check_room(tx, scope, new)
    for key, value in there.items():
        if value is None:
            tx.execute("DELETE FROM state WHERE scope = ? AND key = ?", (scope, key))
        else:
            tx.execute(_SET, (scope, key, *value))
    return results


def _set_fenced(tx: Transaction, scope: str, op: StateOp, lease: Lease) -> bool:
    """What runs do most, in one statement: False if the lease is lost or the scope is full."""
    until = None if op.ttl_ms is None else tx.now + op.ttl_ms
    values = (scope, op.key, op.value, until, *fence(lease.token), MOST_KEYS, MOST_KEYS)
    return tx.execute(_SET_FENCED, values).rowcount > 0


def _check_room(tx: Transaction, scope: str, new: int) -> None:
    """Raise StateLimitError if so many new keys are too many."""
    select = (
        "SELECT count(*) FROM (SELECT 1 FROM state WHERE scope = ? AND (expires_at IS NULL OR expires_at > ?) LIMIT ?)"
    )
    if tx.execute(select, (scope, tx.now, MOST_KEYS)).fetchone()[0] + new > MOST_KEYS:
        raise too_many(scope)


def heartbeat(tx: Transaction, host: HostInfo) -> None:
    """Say that a host lives; and since it happens now and then, sweep what has passed away."""
    values = (host.id, host.started_at, host.heartbeat_at, host.info)
    tx.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?, ?, ?)", values)
    tx.execute("DELETE FROM hosts WHERE heartbeat_at < ?", (tx.now - HOST_KEPT_MS,))
    tx.execute("DELETE FROM state WHERE expires_at <= ?", (tx.now,))


def forget_host(tx: Transaction, id: str) -> None:
    """Delete a host."""
    tx.execute("DELETE FROM hosts WHERE id = ?", (id,))


def publish(tx: Transaction, handlers: Sequence[PublishedHandler]) -> None:
    """Say which handlers there are."""
    for handler in handlers:
        values = (handler.name, handler.queue, handler.info)
        tx.execute("INSERT OR REPLACE INTO handlers VALUES (?, ?, ?)", values)
    flows.subscribe(tx, handlers)
    keys.publish(tx, handlers)
