"""Jobs in a transaction of the user's: there if and only if it commits."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from jobhost import Client
from jobhost.errors import ConfigurationError
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.redis import RedisBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.postgres_server import fresh_url, server
from tests.redis_server import fresh_prefix, server_url

from .backends import PATIENCE, Wakes, add, claim, ids, opened

pytestmark = pytest.mark.anyio

COMMITS = pytest.mark.parametrize("commits", [True, False])


@pytest.fixture
async def postgres(anyio_backend: str) -> AsyncIterator[PostgresBackend]:
    async with opened(PostgresBackend(fresh_url())) as backend:
        assert isinstance(backend, PostgresBackend)
        yield backend


@pytest.fixture
async def sqlite(anyio_backend: str, tmp_path: Path) -> AsyncIterator[SqliteBackend]:
    async with opened(SqliteBackend(tmp_path / "jobs.db")) as backend:
        assert isinstance(backend, SqliteBackend)
        yield backend


def engine_url() -> str:
    return server().url.replace("postgresql://", "postgresql+psycopg://")


async def seen(backend: Backend, commits: bool) -> None:
    """The jobs are there, or nothing ever was; and what is counted is what is there."""
    assert await ids(backend) == (["2", "1"] if commits else [])
    counts = await backend.counts("default")
    assert (counts["waiting"], counts["delayed"]) == ((1, 1) if commits else (0, 0))
    assert len(await claim(backend, 9)) == (1 if commits else 0)


async def enqueue_two(jobs: Client, conn: object) -> None:
    first = await jobs.enqueue("mail", {"to": "Ada"}, conn=conn)
    await jobs.enqueue_many([{"name": "later", "delay": "1h"}], conn=conn)
    assert first.id == "1"


# Postgres -------------------------------------------------------------------------------------------------------


@COMMITS
async def test_a_connection_of_psycopg(postgres: PostgresBackend, commits: bool) -> None:
    """C3, C4: the job and what it is about commit together."""
    async with Client(backend=postgres) as jobs:
        with psycopg.connect(server().url) as conn:
            conn.execute("CREATE TEMPORARY TABLE orders (id int)")
            await enqueue_two(jobs, conn)
            assert await ids(postgres) == [], "before the commit nobody sees them"
            assert conn.execute("SHOW search_path").fetchone() == ('"$user", public',)
            conn.commit() if commits else conn.rollback()
            assert conn.execute("SHOW search_path").fetchone() == ('"$user", public',)
    await seen(postgres, commits)


@COMMITS
async def test_an_async_connection_of_psycopg(postgres: PostgresBackend, commits: bool) -> None:
    async with Client(backend=postgres) as jobs, await psycopg.AsyncConnection.connect(server().url) as conn:
        await conn.set_autocommit(True)
        async with conn.transaction(force_rollback=not commits):
            await enqueue_two(jobs, conn)
    await seen(postgres, commits)


@COMMITS
async def test_a_session_of_sqlalchemy(postgres: PostgresBackend, commits: bool) -> None:
    engine = create_engine(engine_url())
    async with Client(backend=postgres) as jobs:
        with Session(engine) as session:
            session.execute(text("SELECT 1"))
            await enqueue_two(jobs, session)
            session.commit() if commits else session.rollback()
    engine.dispose()
    await seen(postgres, commits)


@COMMITS
async def test_an_async_session_of_sqlalchemy(postgres: PostgresBackend, commits: bool) -> None:
    engine = create_async_engine(engine_url())
    async with Client(backend=postgres) as jobs, AsyncSession(engine) as session:
        await enqueue_two(jobs, session)
        await (session.commit() if commits else session.rollback())
    await engine.dispose()
    await seen(postgres, commits)


async def test_a_rollback_to_a_savepoint_takes_the_jobs_with_it(postgres: PostgresBackend) -> None:
    async with Client(backend=postgres) as jobs:
        with psycopg.connect(server().url) as conn:
            with conn.transaction(force_rollback=True):
                await jobs.enqueue("undone", conn=conn)
            await jobs.enqueue("done", conn=conn)
    assert [job.name for job in (await postgres.jobs())[0]] == ["done"]


async def test_hosts_are_woken_by_the_commit_and_not_before(postgres: PostgresBackend) -> None:
    woken = Wakes()
    stop = postgres.watch(["default"], woken)
    async with Client(backend=postgres) as jobs, await psycopg.AsyncConnection.connect(server().url) as conn:
        await jobs.enqueue("a", conn=conn)
        await anyio.wait_all_tasks_blocked()
        assert woken.queues == []
        await conn.commit()
        assert await woken.wait() == "default"
    stop()


async def test_a_long_transaction_holds_up_nobody(postgres: PostgresBackend) -> None:
    """Others add to the queue, take from it and see it while a producer has not yet committed."""
    async with Client(backend=postgres) as jobs, await psycopg.AsyncConnection.connect(server().url) as conn:
        await jobs.enqueue("slow", conn=conn)
        with anyio.fail_after(PATIENCE):
            assert await add(postgres, "quick") == ["2"]
            assert [one.job.name for one in await claim(postgres, 9)] == ["quick"]
        await conn.commit()
        assert [one.job.name for one in await claim(postgres, 9)] == ["slow"]


async def test_a_second_job_of_an_id_is_the_first_one(postgres: PostgresBackend) -> None:
    async with Client(backend=postgres) as jobs:
        first = await jobs.enqueue("mail", 1, id="order-7")
        with psycopg.connect(server().url) as conn:
            again = await jobs.enqueue("mail", 2, id="order-7", conn=conn)
        assert (again.id, again.created, first.created) == ("order-7", False, True)
    assert (await postgres.counts("default"))["waiting"] == 1


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({"autocommit": True}, None, "open a transaction on it first"),
        ({"client_encoding": "LATIN1"}, None, "set its client_encoding to UTF8"),
        ({}, {"flowId": "f"}, "add it after the commit"),
    ],
)
async def test_what_would_not_commit_together_is_refused(
    postgres: PostgresBackend, options: dict[str, Any], data: Any, said: str
) -> None:
    async with Client(backend=postgres) as jobs:
        with (
            psycopg.connect(server().url, **options) as conn,
            pytest.raises(ConfigurationError, match=said),
        ):
            await jobs.enqueue("a", data, conn=conn)
    assert await ids(postgres) == []


async def test_a_connection_to_another_database_is_refused(postgres: PostgresBackend) -> None:
    async with Client(backend=postgres) as jobs:
        with psycopg.connect(server().url, dbname="template1") as conn:
            with pytest.raises(ConfigurationError, match="only what is in one database commits together"):
                await jobs.enqueue("a", conn=conn)
            assert conn.execute("SELECT 1").fetchone() == (1,), "the transaction goes on"
    assert await ids(postgres) == []


# SQLite ---------------------------------------------------------------------------------------------------------


@COMMITS
async def test_a_connection_of_sqlite3(sqlite: SqliteBackend, tmp_path: Path, commits: bool) -> None:
    conn = sqlite3.connect(tmp_path / "jobs.db")
    conn.row_factory = sqlite3.Row
    async with Client(backend=sqlite) as jobs:
        await enqueue_two(jobs, conn)
        assert await ids(sqlite) == [], "before the commit nobody sees them"
        conn.commit() if commits else conn.rollback()
    conn.close()
    await seen(sqlite, commits)


@COMMITS
async def test_a_session_of_sqlalchemy_over_sqlite(sqlite: SqliteBackend, tmp_path: Path, commits: bool) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/jobs.db")
    async with Client(backend=sqlite) as jobs:
        with Session(engine) as session:
            await enqueue_two(jobs, session)
            session.commit() if commits else session.rollback()
    engine.dispose()
    await seen(sqlite, commits)


async def test_hosts_find_out_by_their_look_at_the_file(sqlite: SqliteBackend, tmp_path: Path) -> None:
    woken = Wakes()
    stop = sqlite.watch(["default"], woken)
    conn = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    async with Client(backend=sqlite) as jobs:
        conn.execute("BEGIN")
        await jobs.enqueue("a", conn=conn)
        conn.execute("COMMIT")
        assert await woken.wait() == "default"
    conn.close()
    stop()


async def test_a_connection_that_commits_each_statement_or_is_to_another_file(
    sqlite: SqliteBackend, tmp_path: Path
) -> None:
    async with Client(backend=sqlite) as jobs:
        for file, options, said in (
            (tmp_path / "jobs.db", {"isolation_level": None}, "execute BEGIN on it first"),
            (tmp_path / "other.db", {}, "only what is in one file commits together"),
            (":memory:", {}, "is to memory and the queues are in"),
        ):
            conn = sqlite3.connect(file, **options)  # type: ignore[call-overload]
            with pytest.raises(ConfigurationError, match=said):
                await jobs.enqueue("a", conn=conn)
            conn.close()
    assert await ids(sqlite) == []


# Others ---------------------------------------------------------------------------------------------------------


async def test_what_is_no_connection_is_refused(postgres: PostgresBackend, sqlite: SqliteBackend) -> None:
    for backend, said in (
        (postgres, "builtins.str is no connection of psycopg 3"),
        (sqlite, "no connection of sqlite3"),
    ):
        async with Client(backend=backend) as jobs:
            with pytest.raises(ConfigurationError, match=said):
                await jobs.enqueue("a", conn="postgresql://localhost")


async def test_stores_without_transactions_say_so() -> None:
    for backend in (MemoryBackend(), RedisBackend(server_url(), fresh_prefix())):
        async with opened(backend), Client(backend=backend) as jobs:
            with pytest.raises(ConfigurationError, match="on Postgres or SQLite, and these are not"):
                await jobs.enqueue("a", conn=object())
