"""`Host` as an object of the user's own program: register, start, health, metrics, pause, stop."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost import BackendUnavailableError, ConfigurationError, Host
from jobhost.config.document import Config
from jobhost.queues.job import NewJob
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

from .functions import Gate, Recorder, echo, fail, serving, until
from .hosting import PATIENCE, bundle, hosted, result_of

pytestmark = pytest.mark.anyio


async def test_health_and_metrics_say_what_it_does(store: Backend) -> None:
    """D3: health says whether it works and what it holds; metrics count since its start."""
    gate = Gate()
    async with serving(store, {"echo": echo, "fail": fail, "gate": gate}) as host:
        await host.run("echo")
        await host.run("fail", attempts=1)
        held = await host.add("gate")
        await until(lambda: gate.entered == [held])
        assert host.host.metrics() == {"completed": 1, "failed": 1, "active": 1}
        health = await host.host.health()
        assert health["ok"] is True
        assert health["handlers"] == ["echo", "fail", "gate"]
        assert health["problems"] == []
        assert health["uptime_s"] >= 0
        counts = health["queues"]["default"]
        assert (counts["active"], counts["completed"], counts["failed"]) == (1, 1, 1)
        assert (health["completed"], health["failed"], health["active"]) == (1, 1, 1)
        gate.open()
        await host.done(held)
        await until(lambda: host.host.metrics() == {"completed": 2, "failed": 1, "active": 0})


async def test_health_of_a_host_with_a_problem() -> None:
    """D3, A5: a handler file that could not be loaded is no health."""
    async with hosted(MemoryBackend(), bundle("python", only="bad_syntax")) as host:
        health = await host.host.health()
        assert health["ok"] is False
        assert "SyntaxError" in health["problems"][0]


async def test_health_without_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """D3: the reason is said, nothing is raised."""
    backend = MemoryBackend()
    async with serving(backend, {}) as host:

        async def gone() -> Any:
            raise BackendUnavailableError("the server is gone")

        with monkeypatch.context() as patched:
            patched.setattr(backend, "queues", gone)
            health = await host.host.health()
        assert (health["ok"], health["error"]) == (False, "the server is gone")


async def test_a_start_that_fails_raises_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """L1: a start-up failure is an error; what was opened is closed, and stopping again is no harm."""
    missing = Host(Config.model_validate({"queue_url": "memory://", "bundles": [{"path": tmp_path / "nowhere"}]}))
    with pytest.raises(ConfigurationError, match="nowhere"):
        await missing.start()
    (tmp_path / "in-the-way").touch()
    unusable = Host(Config(queue_url="memory://"), backend=SqliteBackend(tmp_path / "in-the-way" / "jobs.db"))
    with pytest.raises(BackendUnavailableError):
        await unusable.start()
    for host in (missing, unusable):
        with anyio.fail_after(PATIENCE):
            await host.wait()
            await host.stop()


async def test_a_host_that_was_never_started_can_be_stopped() -> None:
    """D3."""
    host = Host(Config(queue_url="memory://"))
    with anyio.fail_after(PATIENCE):
        await host.stop()
        await host.wait()


async def test_the_names_of_its_log_are_fixed(store: Backend) -> None:
    """K1: a host says what it does in events of fixed names, with the job's context in fields."""
    log = Recorder()
    async with serving(store, {"echo": echo, "fail": fail}, log=log) as host:
        done, lost = await host.run("echo"), await host.run("fail", attempts=1)
    assert [event for event, _ in log.said if event.startswith("host.")] == [
        "host.ready",
        "host.stopping",
        "host.stopped",
    ]
    [completed], [failed] = log.of("job.completed"), log.of("job.failed")
    assert completed == {"queue": "default", "job_id": done.id, "name": "echo"}
    assert failed == {
        "queue": "default",
        "job_id": lost.id,
        "name": "fail",
        "error": "ValueError: no luck on attempt 1",
    }


async def test_two_hosts_share_a_file_job_by_job(tmp_path: Path) -> None:
    """D7, C3: replicas: each job runs once, both take part, and a host that stops hands over to the other."""
    ran: list[str] = []

    def note(job: Any, ctx: Any) -> str:
        ran.append(job.id)
        return str(job.id)

    gates = Gate(), Gate()
    backends = [SqliteBackend(tmp_path / "jobs.db") for _ in range(2)]
    async with serving(backends[0], {"note": note, "gate": gates[0]}, queues={"default": {"concurrency": 2}}) as first:
        async with serving(
            backends[1], {"note": note, "gate": gates[1]}, queues={"default": {"concurrency": 2}}
        ) as second:
            held = [await first.add("gate") for _ in range(4)]
            await until(lambda: len(gates[0].entered) == len(gates[1].entered) == 2)
            assert sorted(gates[0].entered + gates[1].entered) == held
            for gate in gates:
                gate.open()
            added = await backends[0].add([NewJob("note", b"1") for _ in range(200)])
            for one in added:
                assert result_of(await second.done(one.id)) == one.id
        late = await first.run("note")
        assert late.host == first.host.id
    assert sorted(ran, key=int) == [one.id for one in added] + [late.id]


async def test_a_signal_is_the_users_own_affair() -> None:
    """D3: a host in the user's program installs no signal handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    async with serving(MemoryBackend(), {"echo": echo}) as host:
        assert result_of(await host.run("echo", 1)) == 1
        assert {number: signal.getsignal(number) for number in before} == before


class SlowToAnswer(MemoryBackend):
    """Takes jobs at once, and tells of it when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.answer = anyio.Event(), anyio.Event()
        self.settled: list[str] = []

    async def claim(self, *args: Any) -> Any:
        claimed = await super().claim(*args)
        if claimed.claims:
            self.taken.set()
            await self.answer.wait()
        return claimed

    async def settle(self, settlements: Any) -> Any:
        self.settled += [one.to for one in settlements]
        return await super().settle(settlements)


async def test_jobs_of_a_claim_on_its_way_are_handed_back_by_a_host_that_stops() -> None:
    """L1. Row: host stops: they would wait for a lease that nobody renews, and count as stalled."""
    backend = SlowToAnswer()
    async with serving(backend, {"echo": echo}) as host:
        await host.add("echo")
        with anyio.fail_after(PATIENCE):
            await backend.taken.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.host.stop, True)
            await anyio.wait_all_tasks_blocked()
            backend.answer.set()
        assert backend.settled in (["waiting"], ["completed"])
