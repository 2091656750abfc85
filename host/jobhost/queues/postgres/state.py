"""State under scopes and keys, hosts, and published handlers: what is kept beside the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobhost.errors import LeaseLostError

from ..job import HostInfo, Lease, PublishedHandler
from ..state_ops import MOST_KEYS, Result, StateOp, Value, changed, too_many
from . import flows, keys
from .rows import fence
from .texts import words

if TYPE_CHECKING:
    from .transaction import Transaction

HOST_KEPT_MS = 24 * 3_600_000
"""A host without a heartbeat for so long is forgotten; it is no longer listed long before."""

_SET = """INSERT INTO state (scope, key, value, expires_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"""
# FOR SHARE: nobody takes the job over before this is committed. Those who only set do not wait for each other.
_SET_FENCED = """WITH lock AS MATERIALIZED (SELECT pg_try_advisory_xact_lock_shared(%s) AS free),
held AS MATERIALIZED (SELECT 1 FROM jobs WHERE seq = %s AND token = %s FOR SHARE)
INSERT INTO state (scope, key, value, expires_at) SELECT given.* FROM lock, held,
(VALUES (%s::text, %s::text, %s::bytea, %s::bigint)) AS given (scope, key, value, expires_at) WHERE lock.free
AND (EXISTS (SELECT 1 FROM state WHERE scope = given.scope AND key = given.key)
OR (SELECT count(*) FROM (SELECT 1 FROM state WHERE scope = given.scope LIMIT %s) AS s) < %s)
ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"""
_LIVE = """SELECT key, value, expires_at FROM state
WHERE scope = %s AND key = ANY(%s::text[]) AND (expires_at IS NULL OR expires_at > %s)"""
_HOLDS = "SELECT 1 FROM jobs WHERE seq = %s AND token = %s FOR SHARE"
_ROOM = """SELECT count(*) FROM (SELECT 1 FROM state
WHERE scope = %s AND (expires_at IS NULL OR expires_at > %s) LIMIT %s) AS s"""


def change(tx: Transaction, scope: str, ops: Sequence[StateOp], lease: Lease | None) -> list[Result]:
    """Make changes, all or none."""
    if len(ops) == 1 and ops[0].verb == "set" and lease is not None and _set_fenced(tx, scope, ops[0], lease):
        return [None]
    tx.lock("state", scope)
    if lease is not None and tx.execute(_HOLDS, fence(lease.token)).fetchone() is None:
        raise LeaseLostError
    values = (scope, words({op.key for op in ops}), tx.now)
    before: dict[str, Value] = {key: (value, until) for key, value, until in tx.execute(_LIVE, values).fetchall()}
    there, results = changed(ops, before.get, tx.now)
    if new := sum(value is not None and key not in before for key, value in there.items()):
        _check_room(tx, scope, new)
    for key, value in there.items():
        if value is None:
            tx.execute("DELETE FROM state WHERE scope = %s AND key = %s", (scope, key))
        else:
            tx.execute(_SET, (scope, key, *value))
    return results


def _set_fenced(tx: Transaction, scope: str, op: StateOp, lease: Lease) -> bool:
    """What runs do most, in one statement: False if the lease is lost, the scope full, or somebody else at it."""
    until = None if op.ttl_ms is None else tx.now + op.ttl_ms
    values = (tx.key("state", scope), *fence(lease.token), scope, op.key, op.value, until, MOST_KEYS, MOST_KEYS)
    return tx.execute(_SET_FENCED, values).rowcount > 0


def _check_room(tx: Transaction, scope: str, new: int) -> None:
    """Raise StateLimitError if so many new keys are too many."""
    [(there,)] = tx.execute(_ROOM, (scope, tx.now, MOST_KEYS)).fetchall()
    if there + new > MOST_KEYS:
        raise too_many(scope)


def heartbeat(tx: Transaction, host: HostInfo) -> None:
    """Say that a host lives; and since it happens now and then, sweep what has passed away and sum counts up."""
    upsert = """INSERT INTO hosts VALUES (%s, %s, %s, %s) ON CONFLICT (id)
    DO UPDATE SET started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at, info = excluded.info"""
    tx.execute(upsert, (host.id, host.started_at, host.heartbeat_at, host.info))
    if tx.try_lock("sweep", ""):
        tx.execute("DELETE FROM hosts WHERE heartbeat_at < %s", (tx.now - HOST_KEPT_MS,))
        tx.execute("DELETE FROM state WHERE expires_at <= %s", (tx.now,))
        tx.merge_counts("shard < 0")


def forget_host(tx: Transaction, id: str) -> None:
    """Delete a host."""
    tx.execute("DELETE FROM hosts WHERE id = %s", (id,))


def publish(tx: Transaction, handlers: Sequence[PublishedHandler]) -> None:
    """Say which handlers there are."""
    flows.subscribe(tx, handlers)
    keys.publish(tx, handlers)
    upsert = """INSERT INTO handlers VALUES (%s, %s, %s)
    ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, info = excluded.info"""
    for handler in handlers:
        tx.execute(upsert, (handler.name, handler.queue, handler.info))
