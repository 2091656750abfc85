"""By which key jobs take turns: known from the published handlers, and written into each job that is added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..job import PublishedHandler
from ..limits import Paths, key_of, published_paths
from .texts import numbers, words

if TYPE_CHECKING:
    from .transaction import Transaction

EVERY_PATH = "SELECT handler, paths FROM keys"
EVERY_QUEUE = "SELECT DISTINCT queue FROM counts"
# FOR UPDATE: who has such a job under way ends it first.
_JOBS = "SELECT seq, data, metadata FROM jobs WHERE queue = %s AND state = %s AND name = %s ORDER BY seq FOR UPDATE"
_SET = "UPDATE jobs SET key = u.key FROM unnest(%s::bigint[], %s::text[]) AS u (seq, key) WHERE jobs.seq = u.seq"
UNFINISHED = (0, 1, 2, 3)


def read(tx: Transaction) -> dict[str, Paths]:
    """The paths of each handler that has a key."""
    rows = tx.execute(EVERY_PATH).fetchall()
    return {handler: tuple(tuple(path) for path in json.loads(paths)) for handler, paths in rows}


def publish(tx: Transaction, handlers: Sequence[PublishedHandler]) -> None:
    """Take in what handlers say of their keys. The caller holds the handlers' lock."""
    before = dict(tx.paths)
    for handler in handlers:
        paths = published_paths(handler.info)
        if paths != before.get(handler.name, ()):
            _change(tx, handler.name, paths)


def unpublish(tx: Transaction, names: Sequence[str]) -> None:
    for name in names:
        if name in tx.paths:
            _change(tx, name, ())


def _change(tx: Transaction, name: str, paths: Paths) -> None:
    """A handler has another key than before: so have its jobs that have not ended."""
    if paths:
        upsert = "INSERT INTO keys VALUES (%s, %s) ON CONFLICT (handler) DO UPDATE SET paths = excluded.paths"
        tx.execute(upsert, (name, json.dumps(paths)))
    else:
        tx.execute("DELETE FROM keys WHERE handler = %s", (name,))
    tx.forget_paths()
    for (queue,) in tx.execute(EVERY_QUEUE).fetchall():
        for state in UNFINISHED:
            rows = tx.execute(_JOBS, (queue, state, name)).fetchall()
            if rows:
                found = [key_of(data, metadata, paths) if paths else "" for _, data, metadata in rows]
                tx.execute(_SET, (numbers(seq for seq, _, _ in rows), words(found)))
