"""Hooks: told what becomes of jobs, in order, on threads of their own; what they raise or how long they take changes nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.dispatch import hook_thread, hooks
from jobhost.dispatch.host import Host
from jobhost.errors import ConfigurationError
from jobhost.hooks import JobEvent
from jobhost.queues.admission import Admission
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.seam import Backend
from jobhost_sdk import RetryLater, UnrecoverableError

from .functions import Recorder, echo, fail, serving, until
from .hosting import PATIENCE, error_of, result_of

pytestmark = pytest.mark.anyio
FAST = {"default": {"backoff": {"type": "fixed", "delay": "0ms", "jitter": 0.0}}}


class Everything:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[JobEvent] = []
        self.threads: set[int] = set()

    def _note(self, job: JobEvent) -> None:
        self.told.append(job)
        self.threads.add(threading.get_ident())

    before = after = on_started = on_completed = on_failed = on_retried = _note

    def kinds(self, id: str) -> list[str]:
        return [event.kind for event in self.told if event.id == id]

    def last(self, kind: str) -> JobEvent:
        return [event for event in self.told if event.kind == kind][-1]


def with_hooks(*given: Any) -> Callable[[Host], None]:
    def prepare(host: Host) -> None:
        for hook in given:
            host.hook(hook)

    return prepare


async def test_a_job_is_told_from_its_start_to_its_end(store: Backend) -> None:
    """D6: each event once and in order, with what it is about."""
    hook = Everything()
    async with serving(store, {"echo": echo, "fail": fail}, queues=FAST, prepare=with_hooks(hook)) as host:
        done = await host.add("echo", {"n": 1}, metadata=b'{"by": "me"}', flow_id="f-1")
        failed = await host.add("fail", attempts=2)
        await until(lambda: {"completed", "failed"} <= {event.kind for event in hook.told})
        assert hook.kinds(done) == ["before", "started", "after", "completed"]
        # `before` is asked ahead of what waits.
        assert [kind for kind in hook.kinds(failed) if kind != "before"] == [
            "started",
            "after",
            "retried",
            "started",
            "after",
            "failed",
        ]
        assert hook.kinds(failed).count("before") == 2
        told = hook.last("completed")
        assert (told.queue, told.name, told.attempt, told.data, told.result) == (
            "default",
            "echo",
            1,
            {"n": 1},
            {"n": 1},
        )
        assert (told.metadata, told.flow_id, told.host, told.error) == ({"by": "me"}, "f-1", host.host.id, None)
        assert told.created_at <= told.started_at <= told.finished_at  # type: ignore[operator]
        assert told.seconds is not None
        ended = hook.last("failed")
        assert (ended.attempt, (ended.error or {})["message"]) == (2, "no luck on attempt 2")
        assert hook.last("retried").attempt == 1
        assert hook.last("after").outcome in ("returned", "raised")
        assert (hook.last("started").finished_at, hook.last("started").seconds) == (None, None)
        assert len(hook.threads) == 1
        assert threading.get_ident() not in hook.threads


async def test_an_end_is_told_once_it_is_stored(store: Backend) -> None:
    """D6: whoever looks the job up from a hook finds it ended."""
    seen: list[str] = []
    loop = asyncio.get_running_loop()

    def look(job: JobEvent) -> None:
        found = asyncio.run_coroutine_threadsafe(store.get("default", job.id), loop).result(PATIENCE)
        assert found is not None
        seen.append(found.state)

    def prepare(host: Host) -> None:
        host.on_completed(look)
        host.on_failed(look)

    async with serving(store, {"echo": echo, "fail": fail}, prepare=prepare) as host:
        await host.run("echo")
        await host.run("fail", attempts=1)
        await until(lambda: len(seen) == 2)
        assert seen == ["completed", "failed"]


async def test_jobs_that_fail_without_a_run_are_told(store: Backend) -> None:
    """D6: an unknown name, and hosts that died too often."""
    hook = Everything()
    queue = {"unknown_jobs": "fail", "stalled_interval": "20ms", "max_stalled": 0, "paused": True}
    async with serving(store, {"echo": echo}, queues={"default": queue}, prepare=with_hooks(hook)) as host:
        stalls = await host.add("stalls", 7)
        [taken] = (await store.claim("default", 1, Admission(), 1, "dead:1")).claims
        assert taken.job.id == stalls
        await host.done(stalls)
        host.host.resume("default")
        unknown = await host.add("nobody's", {"n": 1})
        await until(lambda: len(hook.told) == 2)
        told = {event.id: event for event in hook.told}
        assert {event.kind for event in hook.told} == {"failed"}
        assert (told[stalls].attempt, told[stalls].data, (told[stalls].error or {})["type"]) == (0, 7, "StalledError")
        assert (told[unknown].attempt, (told[unknown].error or {})["type"]) == (0, "UnknownJobTypeError")


async def test_what_hooks_raise_is_logged_and_changes_nothing(store: Backend) -> None:
    """D6: neither the job's end nor the other hooks."""
    log, after_it = Recorder(), Everything()

    class Broken:
        def before(self, job: JobEvent) -> None:
            raise KeyError("before")

        async def on_completed(self, job: JobEvent) -> None:
            raise SystemExit(3)

    async with serving(store, {"echo": echo}, prepare=with_hooks(Broken(), after_it), log=log) as host:
        job = await host.run("echo", 5)
        assert (result_of(job), job.attempts_made) == (5, 1)
        await until(lambda: after_it.kinds(job.id) == ["before", "started", "after", "completed"])
        said = [(each["hook"], each["kind"], each["job_id"], each["error"]) for each in log.of("hook.failed")]
        name = Broken.__qualname__.rpartition(".")[2]
        assert [(hook.rpartition(".")[2], *rest) for hook, *rest in said] == [
            (name, "before", job.id, "KeyError: 'before'"),
            (name, "completed", job.id, "SystemExit: 3"),
        ]


async def test_a_job_that_is_cancelled_instead_of_retried_is_told_as_failed(store: Backend) -> None:
    """D6: where a cancel and a failed attempt meet, the backend decides, and hooks hear what is so."""
    hook, gate = Everything(), threading.Event()

    def fails(job: Any, ctx: Any) -> None:
        gate.wait(PATIENCE)
        raise ValueError("no luck")

    async with serving(store, {"fails": fails}, queues=FAST, prepare=with_hooks(hook)) as host:
        host.host.workers["default"].cancel = lambda job_id: None  # type: ignore[method-assign]  # it comes too late
        id = await host.add("fails", attempts=3)
        await host.until(id, lambda job: job.state == "active")
        assert await store.cancel("default", id) == "requested"
        gate.set()
        assert error_of(await host.done(id))["type"] == "CancelledError"
        await until(lambda: "failed" in hook.kinds(id))
        assert hook.kinds(id) == ["before", "started", "after", "failed"]
        assert (hook.last("failed").error or {})["type"] == "CancelledError"


async def test_the_first_hook_may_come_while_the_host_runs(store: Backend) -> None:
    """D6: from then on it is told."""
    async with serving(store, {"echo": echo}) as host:
        await host.run("echo", 1)
        hook = Everything()
        host.host.hook(hook)
        job = await host.run("echo", 2)
        await until(lambda: "completed" in hook.kinds(job.id))
        assert {event.data for event in hook.told} == {2}


async def test_hooks_are_called_in_the_order_given() -> None:
    """D6: for each event, functions and objects, sync and async."""
    told: list[str] = []

    class Async:
        async def on_completed(self, job: JobEvent) -> None:
            await asyncio.sleep(0.001)
            told.append(f"async {job.data}")

        async def close(self) -> None:
            told.append("closed")

    def prepare(host: Host) -> None:
        host.hook(Async)
        host.on_completed(lambda job: told.append(f"function {job.data}"))

    async with serving(MemoryBackend(), {"echo": echo}, prepare=prepare) as host:
        host.host.on_completed(lambda job: told.append(f"late {job.data}"))
        for number in range(5):
            await host.run("echo", number)
        await until(lambda: len(told) == 15)
        for number in range(5):
            mine = [line for line in told if line.endswith(f" {number}")]
            assert mine == [f"async {number}", f"function {number}", f"late {number}"]
    assert told[-1] == "closed"


async def test_before_may_refuse_a_run(store: Backend) -> None:
    """M2: `UnrecoverableError` fails the job at once, `RetryLater` lets it come back; the handler does not run."""
    ran: list[Any] = []

    class Door:
        def before(self, job: JobEvent) -> None:
            if job.data == "never":
                raise UnrecoverableError("closed")
            if job.data == "later" and job.id not in ran:
                ran.append(job.id)
                raise RetryLater("100ms")

    def work(job: Any, ctx: Any) -> Any:
        ran.append(job.data)
        return job.data

    hook = Everything()
    async with serving(store, {"work": work}, prepare=with_hooks(Door, hook)) as host:
        job = await host.run("work", "never", attempts=5)
        error = error_of(job)
        assert (job.state, job.attempts_made, error["type"], error["message"], error["origin"]) == (
            "failed",
            1,
            "UnrecoverableError",
            "closed",
            "host",
        )
        assert ran == []
        assert result_of(await host.run("work", "later")) == "later"
        assert ran[1:] == ["later"]
        await until(lambda: hook.kinds(job.id) == ["after", "failed"])


async def test_a_run_that_waits_for_before_can_be_cancelled(store: Backend) -> None:
    """M2: a cancel does not wait for it; it holds its place meanwhile."""
    entered, gate = threading.Event(), threading.Event()

    class Slow:
        def before(self, job: JobEvent) -> None:
            entered.set()
            gate.wait(PATIENCE)

    queues = {"default": {"concurrency": 1, "lease": "1s"}}
    async with serving(store, {"echo": echo}, queues=queues, prepare=with_hooks(Slow)) as host:
        first = await host.add("echo")
        await until(entered.is_set)
        assert await store.cancel("default", first) == "requested"
        assert error_of(await host.done(first))["type"] == "CancelledError"
        second = await host.add("echo")
        await host.until(second, lambda job: job.state == "active")
        gate.set()
        assert (await host.done(second)).state == "completed"


async def test_a_host_that_stops_hands_back_what_waits_for_before() -> None:
    """M2, L1: its handler does not begin."""
    entered, gate, ran = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def before(self, job: JobEvent) -> None:
            entered.set()
            gate.wait(PATIENCE)

    def work(job: Any, ctx: Any) -> None:
        ran.set()

    prepare = with_hooks(Slow)
    async with serving(MemoryBackend(), {"work": work}, prepare=prepare, shutdown_timeout="100ms") as host:
        id = await host.add("work")
        await until(entered.is_set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.host.stop)
            assert (await host.until(id, lambda job: job.state == "waiting")).attempts_made == 0
            gate.set()
        assert not ran.is_set()


async def test_a_hook_that_hangs_is_left_and_misses_what_comes(store: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """D6: dispatcher, leases and the other hooks go on; it is called again once its call has returned, and never twice at once."""
    monkeypatch.setattr(hook_thread, "LIMIT", -0.9)
    monkeypatch.setattr(hooks, "WATCH", 0.02)
    log, after_it, gate = Recorder(), Everything(), threading.Event()
    inside: list[Any] = []

    class Hangs:
        def on_completed(self, job: JobEvent) -> None:
            inside.append(job.data)
            if job.data == 1:
                gate.wait(PATIENCE)

    async with serving(store, {"echo": echo}, prepare=with_hooks(Hangs(), after_it), log=log) as host:
        for number in (1, 2, 3):
            await host.run("echo", number)
        await until(lambda: [event.data for event in after_it.told if event.kind == "completed"] == [1, 2, 3])
        assert inside == [1]
        [said] = log.of("hook.timed_out")
        assert said["kind"] == "completed"
        monkeypatch.setattr(hook_thread, "LIMIT", 30.0)
        gate.set()
        await until(lambda: bool(log.of("hook.returned")))
        assert log.of("hook.returned")[0]["missed"] == 2
        await host.run("echo", 4)
        await until(lambda: inside == [1, 4])
        await until(lambda: after_it.last("completed").data == 4)


async def test_an_async_hook_that_hangs_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """D6: and called for the next event as ever."""
    monkeypatch.setattr(hook_thread, "LIMIT", 0.05)
    log = Recorder()
    told: list[Any] = []

    class Hangs:
        async def on_completed(self, job: JobEvent) -> None:
            if job.data == 1:
                await asyncio.Event().wait()
            told.append(job.data)

    async with serving(MemoryBackend(), {"echo": echo}, prepare=with_hooks(Hangs), log=log) as host:
        for number in (1, 2):
            await host.run("echo", number)
        await until(lambda: told == [2])
        assert [said["kind"] for said in log.of("hook.timed_out")] == ["completed"]


@pytest.mark.parametrize("limit", ["MOST", "MOST_BYTES"])
async def test_hooks_that_are_slower_than_jobs_hold_up_claims_and_lose_nothing(
    store: Backend, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """D6: the host claims no more until they have caught up with half of what may wait."""
    monkeypatch.setattr(hooks, limit, 8 if limit == "MOST" else 40)
    log, gate = Recorder(), threading.Event()
    told: list[str] = []

    class Slow:
        def on_completed(self, job: JobEvent) -> None:
            gate.wait(PATIENCE)
            told.append(job.id)

    queues = {"default": {"concurrency": 2}}
    async with serving(store, {"echo": echo}, queues=queues, prepare=with_hooks(Slow), log=log) as host:
        added = [await host.add("echo", "x" * 5) for _ in range(40)]
        await until(lambda: bool(log.of("hooks.behind")))
        await until(lambda: not any(worker.live for worker in host.host.workers.values()))
        counts = await store.counts("default")
        assert counts["completed"] <= 12
        assert counts["active"] == 0
        gate.set()
        await until(lambda: sorted(told) == sorted(added))
        assert len(log.of("hooks.behind")) >= 1
        await until(lambda: len(log.of("hooks.caught_up")) == len(log.of("hooks.behind")))
        assert host.host.completed == 40


async def test_a_host_that_stops_lets_its_hooks_have_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """D6: within its patience; what they do not get is counted."""
    gate, log = threading.Event(), Recorder()
    told: list[str] = []

    class Slow:
        def on_completed(self, job: JobEvent) -> None:
            gate.wait(PATIENCE)
            told.append(job.id)

    async with serving(MemoryBackend(), {"echo": echo}, prepare=with_hooks(Slow), log=log) as host:
        ids = [(await host.run("echo")).id for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.host.stop)
            gate.set()
        assert told == ids
        assert log.of("hooks.lost") == []
    gate.clear()
    monkeypatch.setattr(hooks, "PATIENCE", 0.05)
    async with serving(MemoryBackend(), {"echo": echo}, prepare=with_hooks(Slow), log=log) as host:
        for _ in range(3):
            await host.run("echo")
        await host.host.stop()
        assert [said["events"] for said in log.of("hooks.lost")] == [3]
    gate.set()


async def test_a_class_is_made_on_the_thread_that_calls_it(tmp_path: Path) -> None:
    """D6: an object may hold what belongs to one thread, such as a connection of sqlite3."""

    class Mirror:
        def __init__(self) -> None:
            self.db = sqlite3.connect(tmp_path / "mirror.db")
            self.db.execute("CREATE TABLE seen (id TEXT)")

        def on_completed(self, job: JobEvent) -> None:
            with self.db:
                self.db.execute("INSERT INTO seen VALUES (?)", (job.id,))

        def close(self) -> None:
            self.db.execute("INSERT INTO seen VALUES ('closed')")
            self.db.commit()
            self.db.close()

    async with serving(MemoryBackend(), {"echo": echo}, prepare=with_hooks(Mirror)) as host:
        ids = [(await host.run("echo")).id for _ in range(3)]
        await host.host.stop()
    with closing(sqlite3.connect(tmp_path / "mirror.db")) as db:
        assert [row[0] for row in db.execute("SELECT id FROM seen")] == [*ids, "closed"]


async def test_what_is_no_hook() -> None:
    """D6: a mistake is said where the hook is given, or at the start."""

    class Misspelt:
        def on_complete(self, job: JobEvent) -> None: ...

    class Broken:
        def __init__(self) -> None:
            raise OSError("no such database")

        def on_failed(self, job: JobEvent) -> None: ...

    async with serving(MemoryBackend(), {}) as host:
        with pytest.raises(ConfigurationError, match=r"'on_complete'.*nearest known: on_completed"):
            host.host.hook(Misspelt)
        with pytest.raises(ConfigurationError, match="has none of the methods before, on_started"):
            host.host.hook(object())
        not_callable: Any = 7
        with pytest.raises(ConfigurationError, match="a function of one argument"):
            host.host.on_started(not_callable)
    with pytest.raises(ConfigurationError, match="Broken can't be made: OSError: no such database"):
        async with serving(MemoryBackend(), {}, prepare=with_hooks(Broken)):
            pass


async def test_kpis_by_hooks(store: Backend) -> None:
    """J3: numbers of one's own, on success and on failure."""
    seconds: dict[str, list[float]] = {"completed": [], "failed": []}

    def measure(job: JobEvent) -> None:
        assert job.seconds is not None
        seconds[job.kind].append(job.seconds)

    def prepare(host: Host) -> None:
        host.on_completed(measure)
        host.on_failed(measure)

    async with serving(store, {"echo": echo, "fail": fail}, prepare=prepare) as host:
        for name in ("echo", "fail", "echo"):
            await host.run(name, attempts=1)
        await until(lambda: (len(seconds["completed"]), len(seconds["failed"])) == (2, 1))
        assert all(0 <= number < PATIENCE for numbers in seconds.values() for number in numbers)
