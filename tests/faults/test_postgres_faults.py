"""A Postgres server that stops, crashes, is full or drops connections under a host: said once, nothing lost, nothing done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from jobhost import Client
from jobhost.errors import BackendUnavailableError
from jobhost.queues.job import NewJob
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.seam import Added

from tests.contract.backends import Wakes, claim, claim_one, completed, job_of, opened, returned
from tests.contract.functions import Gate, Recorder, echo, serving, until
from tests.contract.hosting import PATIENCE, result_of
from tests.postgres_server import QUICK, Instance, fresh_url, server

from .postgres_proxy import Proxy, Where

pytestmark = pytest.mark.anyio
LEASE = {"default": {"lease": "2s", "stalled_interval": "200ms"}}
POSTGRES: dict[str, Any] = {"queue_url": "postgresql://localhost/jobs"}
HOW = pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
CUT = pytest.mark.parametrize("where", ["before", "after"])


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Instance]:
    """A server of the test's own, as it is by default: what was committed is on the disk."""
    one = Instance()
    yield one
    one.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    one = Proxy(fresh_url())
    yield one
    one.close()


@pytest.fixture
async def backend(proxy: Proxy, anyio_backend: str) -> AsyncIterator[PostgresBackend]:
    async with opened(PostgresBackend(proxy.url)) as made:
        assert isinstance(made, PostgresBackend)
        yield made


async def back(log: Recorder) -> None:
    await until(lambda: bool(log.of("backend.available")))


@HOW
async def test_a_server_that_is_restarted(own: Instance, how: signal.Signals) -> None:
    """C3. Row: backend gone: runs go on and are finished when it is back; what waited is done, each once."""
    gate, log, ran = Gate(), Recorder(), Counter[str]()
    backend = PostgresBackend(own.url)

    def count(job: Any, ctx: Any) -> None:
        ran[job.id] += 1

    async with serving(backend, {"gate": gate, "count": count}, queues=LEASE, log=log, **POSTGRES) as host:
        held = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [held])
        own.stop(how)
        gate.open()
        await until(lambda: bool(log.of("backend.unavailable")))
        assert f"127.0.0.1:{own.port}/postgres" in log.of("backend.unavailable")[0]["error"]
        with pytest.raises(BackendUnavailableError, match="check that it runs"):
            await backend.add([NewJob("count")])
        own.start()
        job = await host.done(held)
        assert (result_of(job), job.attempts_made) == (held, 1)
        await back(log)
        added = await backend.add([NewJob("count") for _ in range(200)])
        for one in added:
            assert (await host.done(one.id)).state == "completed"
        assert ran == {one.id: 1 for one in added}


async def test_a_server_that_hangs(own: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks does not wait for ever; once it goes on, all does."""
    monkeypatch.setattr("jobhost.queues.postgres.backend.PATIENCE", 0.3)
    async with opened(PostgresBackend(own.url)) as backend:
        await backend.add([NewJob("a")])
        own.freeze()
        with anyio.fail_after(PATIENCE):
            with pytest.raises(BackendUnavailableError, match="did not answer within"):
                await backend.add([NewJob("b")])
            with pytest.raises(BackendUnavailableError, match="did not answer within"):
                await backend.counts("default")
            own.thaw()
            while True:
                try:
                    await backend.add([NewJob("c")])
                    break
                except BackendUnavailableError:
                    await anyio.sleep(0.05)
        names = [job.name for job in (await backend.jobs())[0]]
        assert names[0] == "c"
        assert names.count("a") == 1


async def test_a_handle_is_closed_while_its_server_hangs(own: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobhost.queues.postgres.backend.CLOSING", 0.2)
    backend = PostgresBackend(own.url)
    await backend.open()
    own.freeze()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_refused, backend)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(PATIENCE):
            await backend.close()


async def _refused(backend: PostgresBackend) -> None:
    with pytest.raises(BackendUnavailableError):
        await backend.add([NewJob("a")])


@pytest.mark.long
async def test_many_crashes_lose_nothing(own: Instance) -> None:
    """Crashed ten times while jobs are added, run and finish: what was acknowledged ends once, with one attempt."""
    backend = PostgresBackend(own.url)
    acknowledged: list[str] = []
    queues = {"default": {**LEASE["default"], "keep_completed": "all"}}
    async with serving(backend, {"echo": echo}, queues=queues, log=Recorder(), **POSTGRES) as host:

        async def produce() -> None:
            while len(acknowledged) < 2_000:
                try:
                    acknowledged.extend([one.id for one in await backend.add([NewJob("echo", attempts=1)] * 10)])
                except BackendUnavailableError:
                    await anyio.sleep(0.05)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(produce)
            for crash in range(10):
                await until(lambda least=crash * 150: len(acknowledged) > least)  # type: ignore[misc]
                await anyio.to_thread.run_sync(own.stop, signal.SIGQUIT)
                await anyio.to_thread.run_sync(own.start)
        for id in acknowledged:
            job = await host.done(id)
            assert (job.state, job.attempts_made) == ("completed", 1)
        counts = await backend.counts("default")
        [(there,)] = own.ask("SELECT count(*) FROM jobhost.jobs")
        assert sum(counts.values()) == there, "what is counted is what is there"


async def test_connections_that_are_cut_again_and_again(tmp_path: Path) -> None:
    """Fault: pg_terminate_backend. Nobody who asked for something hears of it, and no job runs twice."""
    one = server()
    ran: Counter[str] = Counter()

    def count(job: Any, ctx: Any) -> None:
        ran[job.id] += 1

    url = fresh_url()
    async with serving(PostgresBackend(url), {"count": count}, queues=LEASE, log=Recorder(), **POSTGRES) as host:
        ids: list[str] = []
        for _ in range(20):
            ids += [added.id for added in await host.backend.add([NewJob("count", attempts=1) for _ in range(20)])]
            await anyio.to_thread.run_sync(one.cut)
        for id in ids:
            assert (await host.done(id)).state == "completed"
        assert ran == dict.fromkeys(ids, 1)


async def test_watchers_look_once_their_connection_is_back(proxy: Proxy, backend: PostgresBackend) -> None:
    """What was said while nobody listened would else wait for the poll."""
    woken = Wakes()
    stop = backend.watch(["default"], woken)
    await anyio.to_thread.run_sync(server().cut)
    assert await woken.wait() == "default"
    async with opened(PostgresBackend(proxy.url)) as other:
        woken.queues.clear()
        await other.add([NewJob("a")])
        assert await woken.wait() == "default"
    stop()


# A connection that breaks in COMMIT -----------------------------------------------------------------------------


@CUT
async def test_an_add_that_breaks_in_its_commit(proxy: Proxy, backend: PostgresBackend, where: Where) -> None:
    """Neither lost nor doubled: the server is asked what became of it."""
    proxy.cut(where)
    [added] = await backend.add([NewJob("a")])
    assert proxy.cuts == 1
    assert [job.id for job in (await backend.jobs())[0]] == [added.id]
    assert (await backend.counts("default"))["waiting"] == 1


@CUT
async def test_a_claim_that_breaks_in_its_commit(proxy: Proxy, backend: PostgresBackend, where: Where) -> None:
    await backend.add([NewJob("a"), NewJob("b")])
    proxy.cut(where)
    assert [one.job.name for one in await claim(backend, 1)] == ["a"]
    assert [one.job.name for one in await claim(backend, 9)] == ["b"]
    assert (proxy.cuts, (await backend.counts("default"))["active"]) == (1, 2)


@CUT
async def test_a_settlement_that_breaks_in_its_commit(proxy: Proxy, backend: PostgresBackend, where: Where) -> None:
    """What did commit is not told as lost, and not done again."""
    await backend.add([NewJob("a")])
    claimed = await claim_one(backend)
    proxy.cut(where)
    assert await backend.settle([completed(claimed, b"1")]) == [True]
    assert await backend.settle([completed(claimed, b"2")]) == [False]
    assert (proxy.cuts, (await job_of(backend, "1")).result) == (1, b"1")


@CUT
async def test_a_settlement_whose_end_nobody_could_learn(
    proxy: Proxy, backend: PostgresBackend, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stays away: who asked is told that it is not known, tries again, and then hears what is so."""
    monkeypatch.setattr("jobhost.queues.postgres.verdicts.PATIENCE", 0.2)
    await backend.add([NewJob("a")])
    claimed = await claim_one(backend)
    proxy.cut(where, refuses=True)
    with pytest.raises(BackendUnavailableError, match="not known whether this was done"):
        await backend.settle([completed(claimed, b"1")])
    with pytest.raises(BackendUnavailableError):
        await backend.settle([completed(claimed, b"1")])
    proxy.refuses = False
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                assert await backend.settle([completed(claimed, b"1")]) == [True]
                break
            except BackendUnavailableError:
                await anyio.sleep(0.05)
    job = await job_of(backend, "1")
    assert (job.state, job.attempts_made) == ("completed", 1)


@CUT
async def test_claims_that_nobody_heard_of_are_given_back(
    proxy: Proxy, backend: PostgresBackend, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not wait for their lease to run out, and no stall is counted."""
    monkeypatch.setattr("jobhost.queues.postgres.verdicts.PATIENCE", 0.2)
    await backend.add([NewJob("a")])
    proxy.cut(where, refuses=True)
    with pytest.raises(BackendUnavailableError, match="not known whether this was done"):
        await claim(backend)
    proxy.refuses = False
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                if (await job_of(backend, "1")).state == "waiting" and (again := await claim(backend)):
                    break
            except BackendUnavailableError:
                pass
            await anyio.sleep(0.05)
    assert (again[0].job.id, again[0].job.stalled) == ("1", 0)
    assert await backend.settle([returned(again[0])]) == [True]


# A full disk ----------------------------------------------------------------------------------------------------


async def test_a_full_disk_is_said_and_the_queue_goes_on_when_there_is_room() -> None:
    """Fault: disk full. No job is half there, what is counted is what is there, and all that was acknowledged is done."""
    one = Instance(*QUICK, disk="40m")
    one.ask(f"CREATE TABLESPACE small LOCATION '{one.small}'")
    one.ask("ALTER DATABASE postgres SET default_tablespace = small")
    one.ask("CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
    backend = PostgresBackend(one.url)
    acknowledged: list[Added] = []

    async def fill() -> None:
        for _ in range(100):
            new = [NewJob("echo", b'"%s"' % os.urandom(2_000).hex().encode(), delay_ms=3_600_000) for _ in range(200)]
            acknowledged.extend(await backend.add(new))

    try:
        async with serving(backend, {"echo": echo}, log=Recorder(), **POSTGRES) as host:
            with pytest.raises(BackendUnavailableError, match="its disk is full; free some space"):
                await fill()
            assert sum((await backend.counts("default")).values()) == len(acknowledged)
            one.ask("DROP TABLE ballast")
            for added in acknowledged[:50]:
                await backend.promote("default", added.id)
            for added in acknowledged[:50]:
                assert (await host.done(added.id)).state == "completed"
            assert (await backend.add([NewJob("echo")]))[0].created
    finally:
        one.close()


# What is said ---------------------------------------------------------------------------------------------------


async def opening(url: str) -> str:
    """What opening says."""
    backend = PostgresBackend(url)
    with pytest.raises(BackendUnavailableError) as caught:
        await backend.open()
    await backend.close()
    assert "secret" not in str(caught.value)
    return str(caught.value)


async def test_a_server_that_can_not_be_used_says_why_and_what_to_do() -> None:
    url = server().url
    here = url.partition("@")[2].partition("/")[0]
    server().ask("CREATE ROLE weak LOGIN")
    assert "check that it runs" in await opening("postgresql://u:secret@127.0.0.1:1/jobs")
    assert "createdb" in await opening(f"postgresql://postgres:secret@{here}/nowhere")
    assert "refuses the user" in await opening(f"postgresql://nobody:secret@{here}/postgres")
    assert "lets this user do too little" in await opening(f"postgresql://weak@{here}/postgres?schema=weak")


async def test_a_schema_of_another_program_or_a_newer_jobhost() -> None:
    server().ask("CREATE SCHEMA theirs; CREATE TABLE theirs.orders (id int)")
    assert "belongs to another program" in await opening(f"{server().url}?schema=theirs")
    async with opened(PostgresBackend(f"{server().url}?schema=newer")):
        pass
    server().ask("UPDATE newer.versions SET version = 99")
    assert "was written by a newer jobhost (version 99" in await opening(f"{server().url}?schema=newer")


async def test_a_database_that_can_not_keep_all_texts() -> None:
    server().ask("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "createdb --encoding UTF8" in await opening(server().url.rpartition("/")[0] + "/latin")


def test_the_command_line_says_it_and_exits_69(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobhost", "queues", "list", "--queue-url", "postgresql://u:secret@127.0.0.1:1/x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
    assert (done.returncode, done.stdout) == (69, "")
    assert "127.0.0.1:1/x" in done.stderr
    assert "secret" not in done.stderr


async def test_names_that_no_text_of_postgres_can_hold() -> None:
    """NUL, and half of a pair of surrogates, in all that a user names."""
    odd = 'a\0b\1c\ud800"\\'
    async with opened(PostgresBackend(fresh_url())) as backend:
        await backend.add([NewJob(odd, b'"\\u0000"', queue=odd, id=odd)])
        [claimed] = await claim(backend, queue=odd)
        assert (claimed.job.name, claimed.job.id, claimed.job.data) == (odd, odd, b'"\\u0000"')
        assert await backend.settle([completed(claimed)]) == [True]
        assert [queue.name for queue in await backend.queues()] == [odd]
        await backend.state_set(odd, odd, b"1")
        assert await backend.state_keys(odd) == ([odd], None)


# Several at once ------------------------------------------------------------------------------------------------


async def test_a_producer_that_keeps_rows_does_not_hold_up_the_others() -> None:
    """A transaction that has added an id and waits: only who adds the same id waits with it, and the rest goes on."""
    url = fresh_url()
    async with opened(PostgresBackend(url)) as backend:
        with psycopg.connect(server().url) as conn:
            await backend.add_within(conn, [NewJob("a", id="same")])
            async with anyio.create_task_group() as tasks:
                found: list[bool] = []

                async def add_the_same() -> None:
                    found.extend([added.created for added in await backend.add([NewJob("a", id="same")])])

                tasks.start_soon(add_the_same)
                with anyio.fail_after(PATIENCE):
                    for _ in range(3):
                        await backend.add([NewJob("b")])
                assert found == []
                conn.commit()
        assert found == [False]


async def test_hosts_that_begin_at_once_make_the_tables_once() -> None:
    url = fresh_url()
    backends = [PostgresBackend(url) for _ in range(6)]
    async with anyio.create_task_group() as tasks:
        for backend in backends:
            tasks.start_soon(backend.open)
    async with anyio.create_task_group() as tasks:
        for backend in backends:
            tasks.start_soon(backend.add, [NewJob("a", queue=f"q{n}") for n in range(20)])
    assert {info.counts["waiting"] for info in await backends[0].queues()} == {len(backends)}
    for backend in backends:
        await backend.close()


async def test_hosts_in_one_flow_do_not_wait_for_each_other_for_ever() -> None:
    """F5: joins, sub-flows and emits of one flow, worked on by three hosts at once: all there, once, and the flow ends."""
    url = fresh_url()

    async def start(job: Any, ctx: Any) -> None:
        for n in range(60):
            await ctx.flow.emit("begin", n, key=str(n))

    async def part(job: Any, ctx: Any) -> None:
        await ctx.flow.emit("done", job.data)

    functions: dict[str, Any] = {
        "start": (start, {"flow": {"name": "storm", "emits": ["begin"]}}),
        "part": (part, {"flow": {"name": "storm", "subscribes": ["begin"], "emits": ["done"]}}),
        "collect": (echo, {"flow": {"name": "storm", "subscribes": ["done"]}}),
    }
    async with (
        serving(PostgresBackend(url), functions, queues=LEASE, **POSTGRES) as one,
        serving(PostgresBackend(url), functions, queues=LEASE, **POSTGRES),
        serving(PostgresBackend(url), functions, queues=LEASE, **POSTGRES),
        Client(backend=one.backend) as client,
    ):
        flows = [await client.start_flow("storm", n) for n in range(5)]
        for flow in flows:
            with anyio.fail_after(PATIENCE):
                assert (await flow.result())["status"] == "completed"
            jobs = Counter(job.name for job in await one.backend.flow_jobs(flow.id))
            assert jobs == {"start": 1, "part": 60, "collect": 60}
