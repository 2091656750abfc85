"""Jobs in a transaction of the user's: they are there if and only if it commits, and hosts are woken by the commit.

The numbers of the jobs are drawn beforehand on our own connection, so that nobody waits for a number until the user commits; and they
are counted in a row of their own, for the same reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from jobhost.errors import ConfigurationError

from ..drivers import driver_of
from ..flows import flow_of_new
from ..job import STATES, NewJob
from ..limits import Paths
from ..seam import Added
from .adding import EXISTING, INSERT, Numbered, columns, numbered
from .address import Address
from .listening import letters
from .texts import adapt, numbers, words
from .transaction import COUNT, Transaction

Row = tuple[Any, ...]
Statements = Generator[tuple[str, Sequence[Any]], list[Row], list[Added]]
"""Statements of the user's transaction: each is answered with its rows."""

_HERE = "to_regclass(%s)::oid::bigint, extract(epoch FROM pg_postmaster_start_time())::text"
_ENTER = f"SELECT {_HERE}, current_setting('search_path'), set_config('search_path', %s, true)"
_LEAVE = "SELECT set_config('search_path', %s, true)"
_NOTIFY = "SELECT pg_notify(%s, %s)"


class Drawn(NamedTuple):
    """Numbers for jobs, and what tells the database that they are of."""

    jobs: list[Numbered]
    here: Row
    now: int
    paths: Mapping[str, Paths]


def draw(tx: Transaction, jobs: Sequence[NewJob], address: Address) -> Drawn:
    """Draw the numbers of jobs."""
    needed = Counter(job.queue for job in jobs if job.id is None)
    tx.need_numbers(needed)
    ids = {queue: tx.next_ids(queue, needed[queue])[::-1] for queue in sorted(needed)}
    [here] = tx.execute(f"SELECT {_HERE}", (f"{address.schema}.jobs",)).fetchall()
    return Drawn(numbered(jobs, tx.next_seqs(len(jobs)), ids), here, tx.now, tx.paths)


def check(jobs: Sequence[NewJob]) -> None:
    """Raise ConfigurationError for jobs that would hold up others until the user commits."""
    if any(flow_of_new(job)[0] is not None for job in jobs):
        raise ConfigurationError(
            "conn: a job of a flow can't be added in a transaction of yours: add it after the commit"
        )


async def checked_driver(given: Any) -> psycopg.Connection[Any] | psycopg.AsyncConnection[Any]:
    """The driver's connection. Raises ConfigurationError if it is none of psycopg, or in no transaction."""
    driver = await driver_of(given)
    if not isinstance(driver, psycopg.Connection | psycopg.AsyncConnection):
        text = "is no connection of psycopg 3, nor a session of SQLAlchemy over it (postgresql+psycopg://…)"
        raise ConfigurationError(f"conn: {type(given).__module__}.{type(given).__qualname__} {text}")
    if driver.autocommit and driver.info.transaction_status == TransactionStatus.IDLE:
        raise ConfigurationError("conn: the connection commits each statement: open a transaction on it first")
    if driver.info.encoding != "utf-8":
        raise ConfigurationError(f"conn: the connection speaks {driver.info.encoding}: set its client_encoding to UTF8")
    return driver


def statements(drawn: Drawn, address: Address, handle: str) -> Statements:
    """Add the jobs. The search path of the user is as it was afterwards, and after a rollback too."""
    [(*here, path, _)] = yield _ENTER, (f"{address.schema}.jobs", address.schema)
    if tuple(here) != drawn.here:
        yield _LEAVE, (path,)
        text = f"is not to {address.where}, or can't see the schema {address.schema} there"
        raise ConfigurationError(f"conn: the connection {text}: only what is in one database commits together")
    there = {seq for (seq,) in (yield INSERT, columns(drawn.jobs, drawn.now, drawn.paths))}
    added = []
    for job in drawn.jobs:
        rows = [(drawn.now,)] if job.seq in there else (yield EXISTING, (job.new.queue, job.id))
        added.append(Added(job.id, job.seq in there, rows[0][0] if rows else drawn.now))
    made = [job for job in drawn.jobs if job.seq in there]
    if made:
        yield COUNT, _counted(made)
        for letter in letters(handle, {job.new.queue for job in made}, []):
            yield _NOTIFY, (address.channel, letter)
    yield _LEAVE, (path,)
    return added


def _counted(made: list[Numbered]) -> Sequence[Any]:
    counted = Counter((job.new.queue, job.state) for job in made)
    queues = sorted({job.new.queue for job in made})
    of_states = (numbers(counted[queue, state] for queue in queues) for state in range(len(STATES)))
    return (-made[0].seq, words(queues), *of_states)


async def run(driver: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], steps: Statements) -> list[Added]:
    """Run statements on the user's connection. Raises what psycopg raises: the transaction is the user's."""
    if isinstance(driver, psycopg.Connection):
        return await asyncio.to_thread(_run, driver, steps)
    async with driver.cursor(row_factory=tuple_row, binary=True) as cursor:
        adapt(cursor.adapters)
        query, values = next(steps)
        while True:
            await cursor.execute(query.encode(), values)
            try:
                query, values = steps.send(await cursor.fetchall() if cursor.description else [])
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


def _run(driver: psycopg.Connection[Any], steps: Statements) -> list[Added]:
    with driver.cursor(row_factory=tuple_row, binary=True) as cursor:
        adapt(cursor.adapters)
        query, values = next(steps)
        while True:
            cursor.execute(query.encode(), values)
            try:
                query, values = steps.send(cursor.fetchall() if cursor.description else [])
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
