"""State under scopes and keys, hosts, and published handlers: what is kept beside the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobhost.errors import LeaseLostError

from ..job import HostInfo, Json, Lease, PublishedHandler
from ..outcomes import incremented
from . import flows
from .rows import fence

if TYPE_CHECKING:
    from .transaction import Transaction

HOST_KEPT_MS = 24 * 3_600_000
"""A host without a heartbeat for so long is forgotten; it is no longer listed long before."""

_SET = """INSERT INTO state (scope, key, value, expires_at) VALUES (?, ?, ?, ?)
ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"""
_LIVE = "SELECT value, expires_at FROM state WHERE scope = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)"


def _check(tx: Transaction, lease: Lease | None) -> None:
    held = "SELECT 1 FROM jobs WHERE seq = ? AND token = ?"
    if lease is not None and tx.execute(held, fence(lease.token)).fetchone() is None:
        raise LeaseLostError


def set_value(tx: Transaction, scope: str, key: str, value: Json, ttl_ms: int | None, lease: Lease | None) -> None:
    """Write a value."""
    _check(tx, lease)
    tx.execute(_SET, (scope, key, value, None if ttl_ms is None else tx.now + ttl_ms))


def delete_value(tx: Transaction, scope: str, key: str, lease: Lease | None) -> bool:
    """Delete a value; whether there was one that had not passed away."""
    _check(tx, lease)
    live = tx.execute(_LIVE, (scope, key, tx.now)).fetchone()
    tx.execute("DELETE FROM state WHERE scope = ? AND key = ?", (scope, key))
    return live is not None


def increment(tx: Transaction, scope: str, key: str, by: int, lease: Lease | None) -> int:
    """Add to a value."""
    _check(tx, lease)
    value, expires_at = tx.execute(_LIVE, (scope, key, tx.now)).fetchone() or (None, None)
    total = incremented(value, by)
    tx.execute(_SET, (scope, key, b"%d" % total, expires_at))
    return total


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
