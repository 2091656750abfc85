"""What can be wrong with a queue file: each is said in a sentence, loses nothing, and passes when its cause does."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from jobhost.errors import BackendUnavailableError, JobhostError
from jobhost.queues.admission import Admission
from jobhost.queues.job import NewJob, Rate
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend, schema

from tests.contract.backends import PATIENCE, add, claim, claim_one, completed, ids, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def refused(file: Path, match: str) -> None:
    """The file can't be opened, and the handle can be closed and tried again afterwards."""
    backend = SqliteBackend(file, busy_ms=50)
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match=match) as caught:
            await backend.open()
        assert str(file) in str(caught.value)
    with pytest.raises(BackendUnavailableError, match="not open"):
        await backend.queues()
    await backend.close()


async def test_folders_are_made(tmp_path: Path) -> None:
    async with opened(SqliteBackend(tmp_path / "a" / "b" / "jobs.db")) as backend:
        assert await add(backend, "a") == ["1"]


async def test_a_file_that_is_no_database(file: Path) -> None:
    file.write_bytes(b"hello, I am a text file\n" * 1_000)
    await refused(file, "is not a SQLite database: move it away")
    assert file.read_bytes().startswith(b"hello")


async def test_a_database_of_another_program(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    await refused(file, "database of another program")


async def test_a_file_of_an_older_version_is_brought_up_to_date(file: Path) -> None:
    """What was stored stays, and what the version added works."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(file) as db:
        for statement in schema._STEPS[0]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO queues VALUES ('old', 1, 7, 0, 0, 0, 0, 0, 0, 0)")
    db.close()
    async with opened(SqliteBackend(file)) as backend:
        assert [(one.name, one.paused) for one in await backend.queues()] == [("old", True)]
        await add(backend, "a")
        claimed = await backend.claim("default", 1, Admission(), 1_000, "h", Rate(1, 60_000))
        assert len(claimed.claims) == 1
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    db.close()


async def test_a_file_of_a_newer_version(file: Path) -> None:
    async with opened(SqliteBackend(file)) as backend:
        await add(backend, "a")
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    await refused(file, r"newer jobhost \(schema 99")


async def test_an_empty_file_is_a_new_one(file: Path) -> None:
    file.touch()
    async with opened(SqliteBackend(file)) as backend:
        assert await add(backend, "a") == ["1"]


@pytest.mark.parametrize("below", ["", "/deeper"])
async def test_a_folder_that_can_not_be_made(tmp_path: Path, below: str) -> None:
    """As on a read-only folder, which does not stop root."""
    (tmp_path / "in-the-way").touch()
    await refused(Path(f"{tmp_path}/in-the-way{below}/jobs.db"), "can't be used|can't be opened")


async def test_a_folder_where_the_file_should_be(file: Path) -> None:
    file.mkdir()
    await refused(file, "can't be opened: check that its folder exists and is writable")


async def test_a_damaged_file(file: Path) -> None:
    async with opened(SqliteBackend(file)) as backend:
        await backend.add([NewJob("a", b"x" * 1_500) for _ in range(500)])
    with file.open("r+b") as raw:
        size = os.fstat(raw.fileno()).st_size
        for offset in range(4096 * 60, size, 4096):  # behind the list of tables, which fills the first pages
            raw.seek(offset)
            raw.write(b"\xa5" * 4096)
    async with opened(SqliteBackend(file)) as backend:
        with pytest.raises(BackendUnavailableError, match=r"is damaged: stop all hosts.*\.recover"):
            await claim(backend, 500)
        with pytest.raises(BackendUnavailableError, match="is damaged"):
            await ids(backend)


async def test_a_locked_file_at_the_start(file: Path) -> None:
    async with opened(SqliteBackend(file)) as backend:
        await add(backend, "a")
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    await refused(file, "is locked by another process")
    holder.close()
    async with opened(SqliteBackend(file)) as backend:
        assert await ids(backend) == ["1"]


async def test_a_file_that_is_locked_for_a_while(file: Path) -> None:
    async with opened(SqliteBackend(file, busy_ms=30)) as backend:
        await add(backend, "a")
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailableError, match=r"is locked by another process.*fuser"):
            await add(backend, "b")
        assert await ids(backend) == ["1"], "reads go on"
        holder.execute("ROLLBACK")
        holder.close()
        assert await add(backend, "b") == ["2"]


async def test_an_operation_waits_for_another_process_to_let_go(file: Path) -> None:
    async with opened(SqliteBackend(file)) as backend:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(add, backend, "a")
            await anyio.wait_all_tasks_blocked()
            holder.execute("COMMIT")
            holder.close()
        assert await ids(backend) == ["1"]


async def test_a_full_disk_loses_nothing_and_passes(file: Path) -> None:
    """Stands for a full disk: SQLite gives the same error when a file may not grow."""
    async with opened(SqliteBackend(file)) as backend:
        await add(backend, "first")
        await _let_grow(backend, 100)
        acknowledged = ["1"]

        async def fill() -> None:
            while True:
                acknowledged.extend([one.id for one in await backend.add([NewJob("a", b"x" * 20_000)])])

        with pytest.raises(BackendUnavailableError, match="the disk is full; free some space"):
            await fill()
        assert 5 < len(acknowledged) < 50
        assert await ids(backend) == acknowledged[::-1]
        await backend.remove("default", acknowledged.pop())
        claimed = await claim_one(backend)
        assert await backend.settle([completed(claimed)]) == [True], "what needs no more room goes on"
        await _let_grow(backend, 1_000_000)
        [added] = await backend.add([NewJob("a", b"x" * 200_000)])
        assert await ids(backend) == [added.id, *acknowledged[::-1]]


async def test_one_order_that_does_not_fit_leaves_the_others_be(file: Path) -> None:
    async with opened(SqliteBackend(file)) as backend:
        await add(backend, "first")
        await _let_grow(backend, 200)
        stored: list[str] = []
        failed: list[JobhostError] = []

        async def try_add(size: int) -> None:
            try:
                stored.extend([one.id for one in await backend.add([NewJob("a", b"x" * size)])])
            except BackendUnavailableError as error:
                failed.append(error)

        async with anyio.create_task_group() as tasks:
            for size in (10, 10, 5_000_000, 10):
                tasks.start_soon(try_add, size)
        assert (len(stored), len(failed)) == (3, 1)
        assert sorted(await ids(backend)) == sorted(["1", *stored])


async def _let_grow(backend: Backend, pages: int) -> None:
    assert isinstance(backend, SqliteBackend)
    await backend._write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def test_an_order_that_makes_no_sense_spoils_no_other(file: Path) -> None:
    """A name that is no text can't be stored: whoever asks for it is told, those beside it are not."""
    async with opened(SqliteBackend(file)) as backend:
        wrong: list[Exception] = []

        async def add_wrong() -> None:
            try:
                await backend.add([NewJob("fine"), NewJob("\ud800")])
            except UnicodeEncodeError as error:
                wrong.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(add, backend, "a")
                tasks.start_soon(add_wrong)
        assert len(wrong) == 5
        assert [job.name for job in (await backend.jobs())[0]] == ["a"] * 5
        assert (await backend.counts("default"))["waiting"] == 5


async def test_a_claim_whose_caller_is_gone_is_handed_back(file: Path) -> None:
    """A cancelled claim may have been committed already: its jobs must not wait for a lease that nobody renews."""
    async with opened(SqliteBackend(file)) as backend:
        await add(backend, "a")
        claiming = asyncio.ensure_future(claim_one(backend))
        await asyncio.sleep(0)
        with closing(sqlite3.connect(file)) as db:
            while db.execute("SELECT state FROM jobs").fetchone() != (3,):
                pass  # the loop is not let go on: the claim is committed and nobody has been told
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        with anyio.fail_after(PATIENCE):
            while (await backend.counts("default"))["waiting"] == 0:
                pass
        assert (await claim_one(backend)).job.attempts_made == 0


async def test_a_claim_that_was_cancelled_in_time_takes_nothing(file: Path) -> None:
    async with opened(SqliteBackend(file)) as backend:
        await add(backend, "a")
        with closing(sqlite3.connect(file, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            blocked = asyncio.ensure_future(backend.pause("other"))
            await asyncio.sleep(0)
            claiming = asyncio.ensure_future(claim_one(backend))
            await asyncio.sleep(0)
            claiming.cancel()
            holder.execute("COMMIT")
        await blocked
        assert (await backend.counts("default"))["waiting"] == 1
