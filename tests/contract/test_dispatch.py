"""Which jobs a host takes, when, and with whose options."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio
import pytest
from jobhost.errors import ConfigurationError
from jobhost.queues.job import NewJob
from jobhost.queues.redis import RedisBackend
from jobhost.queues.seam import Backend
from jobhost_sdk import Handler

from .functions import Gate, delayed_for, echo, fail, serving, until
from .hosting import PATIENCE, bundle, error_of, hosted, result_of

pytestmark = pytest.mark.anyio
LIFE = ("waiting", "active", "progress", "delayed", "waiting", "active", "progress", "completed")
HOUR = {"type": "fixed", "delay": "1h", "jitter": 0.0}


def now() -> int:
    return int(time.time() * 1000)


def where(job: Any, ctx: Any) -> list[Any]:
    return [job.queue, job.name, job.max_attempts]


async def test_several_queues_each_with_its_own_handlers_and_options(store: Backend) -> None:
    """C1: one host, several queues; a queue that lists its handlers runs no other, and each has its own options."""
    queues = {
        "mail": {"handlers": ["where"], "attempts": 7},
        "images": {"handlers": ["echo"], "attempts": 2, "backoff": HOUR},
        "quiet": {"paused": True},
    }
    handlers = {
        "where": (where, {"queue": "mail"}),
        "echo": (echo, {"queue": "images"}),
        "fail": (fail, {"queue": "x"}),
    }
    async with serving(store, handlers, queues=queues) as host:
        assert sorted(host.host.workers) == ["default", "images", "mail", "quiet", "x"]
        assert result_of(await host.done(await host.add("where", queue="mail"), "mail")) == ["mail", "where", 7]
        assert result_of(await host.run("where")) == ["default", "where", 3]
        refused = await host.done(await host.add("where", queue="images"), "images")
        assert error_of(refused)["type"] == "UnknownJobTypeError"
        assert result_of(await host.done(await host.add("echo", 5, "images"), "images")) == 5
        assert (await host.done(await host.add("fail", queue="x", attempts=1), "x")).state == "failed"


async def test_a_queue_that_is_paused_here_starts_nothing_until_it_is_resumed(store: Backend) -> None:
    """D2, L2: `paused = true` is `autorun: false` of this host alone; delayed jobs wait too."""
    queues = {"default": {"paused": True}}
    async with serving(store, {"echo": echo}, queues=queues) as host:
        id, due = await host.add("echo", 1), await host.add("echo", 2, delay_ms=1)
        host.host.register(echo, "echo.elsewhere", queue="elsewhere")
        assert result_of(await host.done(await host.add("echo.elsewhere", 4, "elsewhere"), "elsewhere")) == 4
        assert (await host.job(id)).state == "waiting"
        assert not (await store.counts("default"))["active"]
        host.host.resume("default")
        assert [result_of(await host.done(one)) for one in (id, due)] == [1, 2]
        host.host.pause("default")
        with pytest.raises(ConfigurationError, match="does not serve 'nowhere'; it serves default, elsewhere"):
            host.host.pause("nowhere")


async def test_a_pause_for_all_hosts_stops_retries_too(store: Backend) -> None:
    """L2. Trap: a memory backend that drops jobs while paused and never retries. What runs goes on, what failed waits, none is lost."""
    gate = Gate()

    def gated_failure(job: Any, ctx: Any) -> None:
        gate(job, ctx)
        if ctx.attempt == 1:
            raise ValueError("once")

    queues = {"default": {"backoff": {"type": "fixed", "delay": "0ms", "jitter": 0.0}}}
    async with serving(store, {"job": gated_failure}, queues=queues) as host:
        id = await host.add("job")
        await until(lambda: gate.entered == [id])
        await store.pause("default")
        gate.open()
        waiting = await host.until(id, lambda job: job.attempts_made == 1)
        assert waiting.state == "waiting"
        assert error_of(waiting)["message"] == "once"
        host.host.register(echo, "after", queue="elsewhere")
        await host.done(await host.add("after", queue="elsewhere"), "elsewhere")
        assert gate.entered == [id]
        await store.resume("default")
        job = await host.done(id)
        assert (job.state, job.attempts_made, gate.entered) == ("completed", 2, [id, id])


async def test_handlers_are_added_while_the_host_runs(store: Backend) -> None:
    """A7, D1: `Host.register`, before the start and after; functions, coroutines and classes; the queue they name is served."""

    async def later(job: Any, ctx: Any) -> Any:
        return ["async", job.data]

    class Resize(Handler):
        async def run(self, job: Any, ctx: Any) -> Any:
            return ["class", job.data]

    async with serving(store, {"echo": echo}) as host:
        assert error_of(await host.run("later"))["type"] == "UnknownJobTypeError"
        host.host.register(later)
        host.host.register(Resize, "resize", queue="images", attempts=9)
        assert result_of(await host.run("later", 1)) == ["async", 1]
        assert result_of(await host.done(await host.add("resize", 2, "images"), "images")) == ["class", 2]
        assert result_of(await host.run("echo", 3)) == 3
        with pytest.raises(ConfigurationError, match="there is a handler named 'later' already"):
            host.host.register(echo, "later")
        with pytest.raises(ConfigurationError, match="unit"):
            host.host.register(echo, "timed", timeout=30)
        assert host.host.catalogue.names() == ["echo", "later", "resize"]
        assert host.host.catalogue.named("resize").settings.attempts == 9  # type: ignore[union-attr]


async def test_a_host_without_handlers_gets_its_first_while_it_runs(store: Backend) -> None:
    """D1: also where nothing was registered before."""
    async with serving(store, {}) as host:
        host.host.register(echo)
        assert result_of(await host.run("echo", 1)) == 1


@pytest.mark.parametrize("language", ["in-process", "python", "node"])
async def test_one_handler_for_all_jobs_of_a_queue(store: Backend, language: str) -> None:
    """A12: a bundle with `job = "*"` serves every name of its queue, the empty one too; other names stay unknown elsewhere."""
    table = bundle("node" if language == "node" else "python", only="facts", job="*")
    if language == "in-process":
        table["isolation"] = "none"
    queues: dict[str, Any] = {"other": {}}
    async with hosted(store, table, queues=queues) as host:
        for name in ("anything", "__default__", "", "facts"):
            assert result_of(await host.run(name, {}))["name"] == name
        assert (
            error_of(await host.done(await host.add("anything", {}, "other"), "other"))["type"] == "UnknownJobTypeError"
        )


async def test_one_processor_for_the_queues_its_bundle_names(store: Backend) -> None:
    """A12: `job = "*"` with `queues`: every job of those, as `new Worker(queue, file)` is; other queues have their own."""
    images = bundle("node", only="facts", job="*", queues=["images", "thumbs"])
    mail = bundle("node", only="echo", job="*", queues=["mail"])
    async with hosted(store, images, mail) as host:
        assert sorted(host.host.workers) == ["default", "images", "mail", "thumbs"]
        for queue in ("images", "thumbs"):
            assert result_of(await host.done(await host.add("resize", {}, queue), queue))["queue"] == queue
        assert result_of(await host.done(await host.add("send", {"to": "a"}, "mail"), "mail")) == {"to": "a"}
        assert error_of(await host.run("resize"))["type"] == "UnknownJobTypeError"


async def test_a_named_handler_comes_before_the_one_for_all(store: Backend) -> None:
    """A12: a handler named `*` serves what no other does."""
    async with serving(store, {"*": where, "echo": echo}) as host:
        assert result_of(await host.run("echo", "named")) == "named"
        assert result_of(await host.run("else"))[:2] == ["default", "else"]


@pytest.mark.parametrize("name", ["*", "gate"])
async def test_a_handler_at_its_limit_leaves_its_jobs_in_place(store: Backend, name: str) -> None:
    """H1. Row: its handler is at its limit: stays in place, in order, no attempt; others of the queue go on."""
    gate = Gate()
    async with serving(store, {name: (gate, {"concurrency": 2}), "echo": echo}) as host:
        held = [await host.add("gate", n) for n in range(5)]
        await until(lambda: len(gate.entered) == 2)
        assert result_of(await host.run("echo", 1)) == 1
        states = [(await host.job(id)).state for id in held]
        # Workers of BullMQ take a job before they know its name: there it comes back 100 ms later.
        left = "delayed" if isinstance(store, RedisBackend) else "waiting"
        assert states.count("active") == 2
        assert set(states) <= {"active", "waiting", left}
        gate.open()
        jobs = [await host.done(id) for id in held]
        assert {(job.state, job.attempts_made) for job in jobs} == {("completed", 1)}
        assert gate.most == 2
        assert sorted(gate.entered[:2]) == held[:2]


async def test_a_queue_runs_no_more_than_its_concurrency(store: Backend) -> None:
    """H1: runs at once of a queue in this host, whatever its handlers."""
    gate = Gate()
    async with serving(store, {"gate": gate, "echo": echo}, queues={"default": {"concurrency": 3}}) as host:
        ids = [await host.add("gate", n) for n in range(6)]
        await until(lambda: len(gate.entered) == 3)
        late = await host.add("echo", "late", priority=0)
        assert (await store.counts("default"))["active"] == 3
        gate.open()
        for id in (*ids, late):
            assert (await host.done(id)).state == "completed"
        assert gate.most == 3


async def test_unknown_names_are_left_for_another_host(store: Backend) -> None:
    """Row: no such handler, `unknown_jobs = "release"`: delayed 1 s growing to 60 s, no attempt used; another host may do it."""
    async with serving(store, {"echo": echo}, queues={"default": {"unknown_jobs": "release"}}) as host:
        id = await host.add("stranger", 7)
        waits = []
        for times in range(8):
            before = now()
            if times:
                await store.promote("default", id)
            job = await host.until(id, lambda job, times=times: job.state == "delayed" and job.released == times + 1)  # type: ignore[misc]
            assert (job.attempts_made, job.error) == (0, None)
            waits.append((delayed_for(job, now()), delayed_for(job, before)))
        for (least, most), wanted in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60], strict=True):
            assert least <= wanted * 1000 <= most
        host.host.register(echo, "stranger")
        await store.promote("default", id)
        done = await host.done(id)
        assert (result_of(done), done.attempts_made) == (7, 1)


async def test_whose_option_counts(store: Backend) -> None:
    """B3, G1, G2: the job's own > [handlers] > the handler's code > [queues] > [defaults] > built-in, for each option alone."""
    seen: dict[str, Any] = {}

    def options(job: Any, ctx: Any) -> None:
        left = None if ctx.deadline is None else round(ctx.deadline.timestamp() - time.time())
        seen[job.id] = [job.max_attempts, left]

    config: dict[str, Any] = {
        "defaults": {"attempts": 10, "timeout": "1000s"},
        "queues": {"default": {}, "q": {"attempts": 20, "timeout": "2000s"}},
        "handlers": {"configured": {"attempts": 40}},
    }
    coded = {"attempts": 30, "timeout": "3000s"}
    functions = {
        "plain": options,
        "coded": (options, coded),
        "configured": (options, coded),
        "never": (options, {"timeout": "none"}),
    }
    async with serving(store, functions, **config) as host:

        async def run(name: str, queue: str = "default", **own: Any) -> Any:
            id = await host.add(name, queue=queue, id=f"{name}-{queue}-{len(own)}", **own)
            assert (await host.done(id, queue)).state == "completed"
            return seen[id]

        assert await run("plain") == [10, 1000]
        assert await run("plain", "q") == [20, 2000]
        assert await run("coded", "q") == [30, 3000]
        assert await run("configured", "q") == [40, 3000]
        assert await run("configured", "q", attempts=50) == [50, 3000]
        assert await run("configured", "q", attempts=50, timeout_ms=4_000_000) == [50, 4000]
        assert await run("never", "q") == [20, None]
        assert await run("plain", "q", timeout_ms=0) == [20, None]
    async with serving(store, {"options": options}) as host:
        id = await host.add("options", id="built-in")
        await host.done(id)
        assert seen[id] == [3, 3600]


async def test_what_is_kept_of_ended_jobs(store: Backend) -> None:
    """B3, C7: `keep_completed` and `keep_failed` by count and age, as jobs end; the newest stay."""
    queues = {
        "default": {"keep_completed": 3, "keep_failed": {"count": 2}, "attempts": 1},
        "all": {"keep_completed": "all"},
        "none": {"keep_completed": 0},
        "young": {"keep_completed": {"count": 100, "age": "1ms"}},
    }
    async with serving(store, {"echo": echo, "fail": fail}, queues=queues) as host:
        for n in range(6):
            await host.run("echo", n)
            await host.run("fail")
        counts = await store.counts("default")
        assert (counts["completed"], counts["failed"]) == (3, 2)
        jobs, _ = await store.jobs("default", states=("completed",))
        assert [json.loads(job.data) for job in jobs] == [5, 4, 3]
        added = await store.add([NewJob("echo", b"1", queue) for queue in ("all", "none") for _ in range(5)])
        with anyio.fail_after(PATIENCE):
            while host.host.completed < 16:
                await anyio.sleep(0.01)
        assert len(added) == 10
        assert [(await store.counts(queue))["completed"] for queue in ("all", "none")] == [5, 0]
        if isinstance(store, RedisBackend):
            return  # BullMQ's ages are whole seconds
        first = await host.add("echo", 1, "young")
        await host.until(first, lambda job: job.finished_at is not None and now() > job.finished_at + 1, "young")
        second = await host.add("echo", 2, "young")
        await host.done(second, "young")
        assert [job.id for job in (await store.jobs("young"))[0]] == [second]


async def test_a_jobs_life_through_a_host_in_events(store: Backend) -> None:
    """F4: waiting, active, progress, delayed, completed and failed, as they happen."""

    def work(job: Any, ctx: Any) -> str:
        ctx.progress({"page": ctx.attempt})
        if ctx.attempt == 1:
            raise ValueError("once")
        return "fine"

    queues = {"default": {"backoff": {"type": "fixed", "delay": "1ms", "jitter": 0.0}}}
    async with serving(store, {"work": work, "fail": fail}, queues=queues) as host:
        heard: list[tuple[str, int]] = []
        async with anyio.create_task_group() as tasks:
            listening = anyio.Event()

            async def listen() -> None:
                events = store.events("default")
                asking = events.__anext__()
                listening.set()
                event = await asking
                while event.type != "failed":
                    if event.job_id == "1":
                        heard.append((event.type, event.attempt))
                    event = await events.__anext__()
                await events.aclose()  # type: ignore[attr-defined]

            tasks.start_soon(listen)
            await listening.wait()
            await anyio.wait_all_tasks_blocked()
            await host.run("work")
            await host.run("fail", attempts=1)
        if isinstance(store, RedisBackend):
            heard = [(type, 0) for type, _ in heard]  # BullMQ's events do not say which attempt they are about
            assert heard == [(type, 0) for type in LIFE]
            return
        assert heard == [
            ("waiting", 0),
            ("active", 1),
            ("progress", 1),
            ("delayed", 1),
            ("waiting", 0),
            ("active", 2),
            ("progress", 2),
            ("completed", 2),
        ]
