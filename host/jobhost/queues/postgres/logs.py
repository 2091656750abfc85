"""The log lines of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..job import Lease, LogLine
from .texts import blobs, numbers, words

if TYPE_CHECKING:
    from .transaction import Transaction

LOG_LINES = 1_000
"""Lines kept with each job, the newest."""

_LAST = """SELECT j.queue, j.id, j.seq, (SELECT coalesce(max(n), 0) FROM logs WHERE job = j.seq)
FROM unnest(%s::text[], %s::text[]) AS u (queue, id) JOIN jobs AS j ON j.queue = u.queue AND j.id = u.id"""
_INSERT = """INSERT INTO logs (job, n, ts, attempt, level, message, source, fields) SELECT * FROM unnest(
%s::bigint[], %s::bigint[], %s::bigint[], %s::integer[], %s::text[], %s::text[], %s::text[], %s::bytea[])"""


def log(tx: Transaction, lines: Sequence[tuple[Lease, LogLine]]) -> None:
    """Keep log lines."""
    asked = sorted({(lease.queue, lease.id) for lease, _ in lines})
    found = tx.execute(_LAST, (words(queue for queue, _ in asked), words(id for _, id in asked))).fetchall()
    seqs = {(queue, id): seq for queue, id, seq, _ in found}
    last = {seq: n for _, _, seq, n in found}
    kept: list[tuple[int, int, LogLine]] = []
    for lease, line in lines:
        seq = seqs.get((lease.queue, lease.id))
        if seq is not None:
            last[seq] += 1
            kept.append((seq, last[seq], line))
    if kept:
        _insert(tx, kept)
    for seq, n in last.items():
        if n > LOG_LINES:
            tx.execute("DELETE FROM logs WHERE job = %s AND n <= %s", (seq, n - LOG_LINES))


def _insert(tx: Transaction, kept: Sequence[tuple[int, int, LogLine]]) -> None:
    lines = [line for _, _, line in kept]
    tx.execute(
        _INSERT,
        (
            *(numbers(seq for seq, _, _ in kept), numbers(n for _, n, _ in kept)),
            *(numbers(line.ts for line in lines), numbers(line.attempt for line in lines)),
            *(words(line.level for line in lines), words(line.message for line in lines)),
            *(words(line.source for line in lines), blobs(line.fields for line in lines)),
        ),
    )
