"""The backend fails under a running host: said once, nothing lost, nothing done twice, and it goes on by itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.config.document import Config
from jobhost.dispatch.host import Host
from jobhost.errors import BackendUnavailableError
from jobhost.queues.job import NewJob
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.sqlite import SqliteBackend
from jobhost_sdk.errors import CallError

from tests.contract.functions import Gate, Recorder, serving, until
from tests.contract.hosting import PATIENCE, bundle, error_of, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
LEASE = {"default": {"lease": "100ms", "stalled_interval": "20ms"}}


class Failing(MemoryBackend):
    """Unreachable while `gone`; counts what was refused."""

    gone = False
    refused: dict[str, int]

    def _reach(self, what: str) -> None:
        if self.gone:
            self.refused[what] = self.refused.get(what, 0) + 1
            raise BackendUnavailableError("the server is gone")


def _failing(name: str) -> Callable[..., Any]:
    async def call(self: Failing, *args: Any, **options: Any) -> Any:
        self._reach(name)
        return await getattr(MemoryBackend, name)(self, *args, **options)

    return call


for _name in ("claim", "settle", "renew", "recover", "heartbeat", "log", "progress", "queues", "state_set"):
    setattr(Failing, _name, _failing(_name))


@pytest.fixture
def failing() -> Failing:
    backend = Failing()
    backend.refused = {}
    return backend


async def test_runs_go_on_while_the_backend_is_gone_and_finish_when_it_is_back(failing: Failing) -> None:
    """Row: backend gone. Longer than the lease, and nobody else took the job: it is finished, without another attempt."""
    gate, log = Gate(), Recorder()
    async with serving(failing, {"gate": gate}, queues=LEASE, log=log) as host:
        id = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [id])
        failing.gone = True
        await until(lambda: failing.refused.get("renew", 0) >= 4)  # two leases long
        gate.open()
        await until(lambda: failing.refused.get("settle", 0) >= 2)
        assert (await host.job(id)).state == "active"
        failing.gone = False
        job = await host.done(id)
        assert (result_of(job), job.attempts_made, job.stalled) == (id, 1, 0)
        assert gate.entered == [id]
        await until(lambda: bool(log.of("backend.available")))
        assert log.of("backend.unavailable") == [{"error": "the server is gone"}]
        again = await host.run("gate")
        assert again.state == "completed"


async def test_lines_that_could_not_be_stored_are_counted(failing: Failing) -> None:
    """What is dropped is said; the last progress is not dropped."""
    gate = Gate()

    def talk(job: Any, ctx: Any) -> None:
        ctx.logger.info("before")
        gate(job, ctx)
        for n in range(3):
            ctx.logger.info(f"lost {n}")
        ctx.progress(75)

    async with serving(failing, {"talk": talk}, queues=LEASE) as host:
        id = await host.add("talk")
        await host.logged(id, "before")
        failing.gone = True
        gate.open()
        await until(lambda: failing.refused.get("settle", 0) >= 1)
        failing.gone = False
        job = await host.done(id)
        assert job.progress == b"75"
        lines = [line.message for _, line in await failing.logs("default", id)]
        assert lines == ["before", "3 log lines dropped"]


async def test_a_host_that_stops_without_its_backend_says_what_it_could_not_write(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row: backend gone, for good. The host ends all the same, and the job's lease brings it back."""
    monkeypatch.setattr("jobhost.dispatch.host.WRITING", 0.2)
    log, gate = Recorder(), Gate()
    async with serving(failing, {"gate": gate}, queues=LEASE, log=log) as host:
        id = await host.add("gate")
        await until(lambda: gate.entered == [id])
        failing.gone = True
        gate.open()
        await until(lambda: failing.refused.get("settle", 0) >= 1)
        await host.host.stop()
        assert [fields["settlements"] for fields in log.of("host.unsettled")] == [1]


async def test_a_stop_that_breaks_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the stop is raised to whoever waits for it; nobody hangs."""
    backend, log = MemoryBackend(), Recorder()
    host = Host(Config(queue_url="memory://"), backend=backend, log=log)
    await host.start()

    async def broken() -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(backend, "close", broken)
    with anyio.fail_after(PATIENCE), pytest.raises(LookupError, match="a defect"):
        await host.stop()
    assert len(log.of("host.defect")) == 1


async def test_a_file_that_is_locked_under_a_host(tmp_path: Path) -> None:
    """Fault: a locked SQLite file is said with its cause, and its jobs are done once it is free."""
    backend = SqliteBackend(tmp_path / "jobs.db", busy_ms=30)
    gate, log = Gate(), Recorder()
    async with serving(backend, {"gate": gate}, queues=LEASE, log=log) as host:
        first, second = await host.add("gate"), await host.add("gate")
        await until(lambda: len(gate.entered) == 2)
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            gate.open()
            await until(lambda: bool(log.of("backend.unavailable")))
            assert (await host.job(first)).state == "active", "reads go on"
            holder.execute("ROLLBACK")
        for id in (first, second):
            job = await host.done(id)
            assert (result_of(job), job.attempts_made) == (id, 1)
        assert sorted(gate.entered) == [first, second]
        [said] = log.of("backend.unavailable")
        assert "is locked by another process" in said["error"]
        assert "fuser" in said["error"]
        assert result_of(await host.run("gate")) == "3"


async def _let_grow(backend: SqliteBackend, pages: int) -> None:
    await backend._write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}").fetchone())


@pytest.mark.parametrize("language", ["python", "node"])
async def test_a_disk_that_is_full_under_a_host(language: str, tmp_path: Path) -> None:
    """Fault: a result that does not fit on the disk is kept until it does, and the job runs once."""
    backend, log = SqliteBackend(tmp_path / "jobs.db"), Recorder()
    async with hosted(backend, bundle(language), log=log) as host:
        assert result_of(await host.run("echo", 1)) == 1
        large = json.dumps("x" * 900_000).encode()
        [added] = await backend.add([NewJob("echo", large, delay_ms=3_600_000)])
        await _let_grow(backend, 1)  # not one page more than now
        await backend.promote("default", added.id)
        with anyio.fail_after(PATIENCE):
            while not log.of("backend.unavailable"):
                await anyio.sleep(0.01)
        held = await host.job(added.id)
        assert (held.state, held.result) == ("active", None)
        assert "the disk is full; free some space" in log.of("backend.unavailable")[0]["error"]
        await _let_grow(backend, 1_000_000)
        job = await host.done(added.id)
        assert (job.result, job.attempts_made) == (large, 1)


async def test_state_that_does_not_fit_on_the_disk_is_an_error_in_the_handler(tmp_path: Path) -> None:
    """Fault: `set` returns only when it is durable; on a full disk it raises, and the handler may go on."""
    backend = SqliteBackend(tmp_path / "jobs.db")

    def keep(job: Any, ctx: Any) -> str:
        try:
            ctx.state.set("big", "x" * 900_000)
        except CallError as error:
            return f"{error.type}: {error}"
        return "stored"

    async with serving(backend, {"keep": keep}) as host:
        assert result_of(await host.run("keep")) == "stored"
        id = await host.add("keep", delay_ms=3_600_000)
        await _let_grow(backend, 1)
        await backend.promote("default", id)
        said = result_of(await host.done(id))
        assert said.startswith("BackendError: ")
        assert "the disk is full" in said


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_lines_of_a_job_that_has_ended_are_not_a_defect(kind: str, tmp_path: Path) -> None:
    """A handler that left a thread behind which still talks when the job is done."""
    later = Gate()

    def leaves(job: Any, ctx: Any) -> None:
        import threading

        def talk() -> None:
            later(job, ctx)
            ctx.logger.info("too late")

        threading.Thread(target=talk, daemon=True).start()

    async with serving(make_backend(kind, tmp_path), {"leaves": leaves, "hello": lambda job, ctx: "hello"}) as host:
        assert (await host.run("leaves")).state == "completed"
        later.open()
        assert result_of(await host.run("hello")) == "hello"
        assert error_of(await host.run("unheard"))["type"] == "UnknownJobTypeError"
