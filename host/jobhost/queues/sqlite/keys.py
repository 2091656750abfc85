"""By which key jobs take turns: known from the published handlers, and written into each job that is added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..job import PublishedHandler
from ..limits import Paths, key_of, published_paths

if TYPE_CHECKING:
    from .transaction import Transaction

EVERY_PATH = "SELECT handler, paths FROM keys"
EVERY_QUEUE = "SELECT name FROM queues"
_JOBS = """SELECT seq, coalesce(data, (SELECT payloads.data FROM payloads WHERE payloads.seq = jobs.seq)), metadata
FROM jobs INDEXED BY jobs_listed WHERE queue = ? AND state = ? AND name = ?"""
_SET = "UPDATE jobs SET key = ? WHERE seq = ?"
UNFINISHED = (0, 1, 2, 3)


def read(tx: Transaction) -> dict[str, Paths]:
    """The paths of each handler that has a key."""
    return {handler: tuple(tuple(path) for path in json.loads(paths)) for handler, paths in tx.execute(EVERY_PATH)}


def publish(tx: Transaction, handlers: Sequence[PublishedHandler]) -> None:
    """Take in what handlers say of their keys."""
    before = tx.paths
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
        tx.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", (name, json.dumps(paths)))
    else:
        tx.execute("DELETE FROM keys WHERE handler = ?", (name,))
    tx.forget_paths()
    for (queue,) in tx.execute(EVERY_QUEUE).fetchall():
        for state in UNFINISHED:
            rows = tx.execute(_JOBS, (queue, state, name)).fetchall()
            tx.execute_many(
                _SET, [(key_of(data, metadata, paths) if paths else "", seq) for seq, data, metadata in rows]
            )
