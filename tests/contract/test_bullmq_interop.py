"""Queues on Redis are BullMQ's queues: Node's own BullMQ adds, works and looks, and notices nothing."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from jobhost import Client
from jobhost.queues.admission import Admission
from jobhost.queues.job import Lease, NewJob, Rate, Settlement
from jobhost.queues.redis import RedisBackend

from tests.redis_server import fresh_prefix, server_url

from .bullmq_peer import NODE_TESTS, Peer, bullmq
from .functions import Gate, echo, serving, until
from .hosting import PATIENCE, Hosted, bundle, error_of, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
ON_REDIS: dict[str, Any] = {"queue_url": "redis://localhost"}
"""What makes a host take BullMQ's own defaults; its backend is given."""


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
def peer(prefix: str) -> Iterator[Peer]:
    with bullmq(prefix) as one:
        yield one


@pytest.fixture
def backend(prefix: str) -> RedisBackend:
    return RedisBackend(server_url(), prefix)


def talk(job: Any, ctx: Any) -> None:
    ctx.progress({"page": 2})
    ctx.logger.info("resizing", width=80, of="a b")
    ctx.logger.error("too wide")


def fail(job: Any, ctx: Any) -> None:
    raise ValueError(f"no luck on attempt {ctx.attempt}")


@pytest.fixture
async def host(backend: RedisBackend, anyio_backend: str) -> AsyncIterator[Hosted]:
    async with serving(backend, {"echo": echo, "fail": fail, "talk": talk}, **ON_REDIS) as one:
        yield one


async def test_node_adds_and_jobhost_works(peer: Peer, host: Hosted) -> None:
    """A1: results, as `waitUntilFinished` of BullMQ gives them."""
    await peer.do("listen", queue="default")
    values: list[Any] = [{"text": "äöü 😀", "n": [1, 2.5, None, True]}, None, 0, "", []]
    for data in values:
        id = await peer.do("add", queue="default", name="echo", data=data)
        assert await peer.do("wait", queue="default", id=id) == data
        job = await peer.do("job", queue="default", id=id)
        assert (job["state"], job["returnvalue"], job["attemptsMade"], job["attemptsStarted"]) == (
            "completed",
            data,
            1,
            1,
        )
        assert job["processedBy"] == host.host.id
        assert job["finishedOn"] >= job["processedOn"] >= job["timestamp"]


@pytest.mark.parametrize("language", ["python", "node"])
async def test_node_adds_and_isolated_children_work(peer: Peer, backend: RedisBackend, language: str) -> None:
    """A1, C3: the same handler code serves BullMQ's queues."""
    async with hosted(backend, bundle(language), **ON_REDIS):
        await peer.do("listen", queue="default")
        jobs = [{"name": "echo", "data": n} for n in range(200)]
        ids = await peer.do("addBulk", queue="default", jobs=jobs)
        for n, id in enumerate(ids):
            assert await peer.do("wait", queue="default", id=id) == n
        dead = await peer.do("add", queue="default", name="die", data="SIGKILL")
        with pytest.raises(RuntimeError, match="the child was killed by SIGKILL"):
            await peer.do("wait", queue="default", id=dead)


async def test_an_unset_option_means_what_it_means_in_bullmq(peer: Peer, host: Hosted) -> None:
    """A1: one attempt, everything is kept, and a job whose handler is unknown is left for another worker."""
    id = await peer.do("add", queue="default", name="fail")
    job = await host.done(id)
    assert (job.state, job.attempts_made) == ("failed", 1)
    seen = await peer.do("job", queue="default", id=id)
    assert (seen["state"], seen["failedReason"], seen["attemptsMade"]) == ("failed", "no luck on attempt 1", 1)
    assert "ValueError: no luck on attempt 1" in seen["stacktrace"][-1]
    assert "in fail" in seen["stacktrace"][-1], "the handler's own frames"
    strange = await peer.do("add", queue="default", name="facts", data=1)
    await host.until(strange, lambda job: job.state == "delayed" and job.released == 1)
    seen = await peer.do("job", queue="default", id=strange)
    assert (seen["attemptsMade"], seen.get("failedReason")) == (0, None)
    for _ in range(20):
        await peer.do("add", queue="default", name="echo", data=1)
    with anyio.fail_after(PATIENCE):
        while (await peer.do("counts", queue="default"))["completed"] < 20:
            await anyio.sleep(0.01)


async def test_attempts_and_backoff_are_the_producers(peer: Peer, host: Hosted) -> None:
    """G1: fixed and exponential backoff of BullMQ's producers; the error of the last attempt is there meanwhile."""
    before = time.time() * 1000
    opts = {"attempts": 3, "backoff": {"type": "fixed", "delay": 3_600_000}}
    id = await peer.do("add", queue="default", name="fail", opts=opts)
    job = await host.until(id, lambda job: job.state == "delayed")
    assert job.delay_until is not None
    assert 3_600_000 - 1 <= job.delay_until - before <= 3_600_000 + time.time() * 1000 - before
    assert error_of(job)["message"] == "no luck on attempt 1"
    seen = await peer.do("job", queue="default", id=id)
    assert (seen["state"], seen["attemptsMade"], seen["failedReason"]) == ("delayed", 1, "no luck on attempt 1")
    for made in (2, 3):
        await peer.do("promote", queue="default", id=id)
        await host.until(id, lambda job, made=made: job.attempts_made == made)  # type: ignore[misc]
    assert (await host.job(id)).state == "failed"
    assert len((await peer.do("job", queue="default", id=id))["stacktrace"]) == 3
    await peer.do("retry", queue="default", id=id)
    assert (await host.until(id, lambda job: job.state in ("delayed", "failed"))).attempts_made >= 1


async def test_progress_and_logs_are_seen(peer: Peer, host: Hosted) -> None:
    """D5: by QueueEvents and getJobLogs; a line is the level unless it is info, the message, its fields."""
    await peer.do("listen", queue="default")
    id = await peer.do("add", queue="default", name="talk")
    await peer.do("wait", queue="default", id=id)
    job = await peer.do("job", queue="default", id=id)
    assert job["progress"] == {"page": 2}
    assert job["logs"] == ["resizing width=80 of=a b", "error: too wide"]
    with anyio.fail_after(PATIENCE):
        while not any(event["type"] == "progress" for event in await peer.do("heard", queue="default")):
            await anyio.sleep(0.01)
    types = [event["type"] for event in await peer.do("heard", queue="default") if event.get("jobId") == id]
    assert types[:4] == ["added", "waiting", "active", "progress"]
    lines = [(line.level, line.message) for _, line in await host.backend.logs("default", id)]
    assert lines == [("info", "resizing"), ("error", "too wide")]


async def test_jobhost_adds_and_node_works(peer: Peer, backend: RedisBackend, prefix: str) -> None:
    """C4, C8: jobs of `Client` are BullMQ's; results, errors, progress and logs of its workers are seen here."""
    await peer.do("work", queue="images")
    async with Client(server_url(), prefix=prefix) as jobs:
        handle = await jobs.enqueue("facts", {"width": 80}, queue="images", priority=3, attempts=4, delay="10ms")
        facts = await handle.result(timeout="20s")
        assert facts["name"] == "facts"
        assert (facts["attemptsMade"], facts["priority"], facts["opts"]["attempts"]) == (0, 3, 4)
        for data in ({"a": ["ä"]}, None, 0, ""):
            assert await (await jobs.enqueue("echo", data, queue="images")).result(timeout="20s") == data
        custom = await jobs.enqueue("echo", 1, queue="images", id="mine")
        assert (custom.id, await custom.result(timeout="20s")) == ("mine", 1)
        failing = await jobs.enqueue("fail", queue="images")
        with pytest.raises(Exception, match="no luck on attempt 1"):
            await failing.result(timeout="20s")
        hopeless = await jobs.enqueue("hopeless", queue="images", attempts=5)
        with pytest.raises(Exception, match="there is no card"):
            await hopeless.result(timeout="20s")
        talking = await jobs.enqueue("talk", queue="images")
        assert await talking.result(timeout="20s") is None
        assert (await talking.info())["progress"] == {"page": 2}
        assert [line.message for _, line in await jobs.backend.logs("images", talking.id)] == ["hello from node"]
    await peer.do("rest")


async def test_order_is_bullmqs(peer: Peer, backend: RedisBackend) -> None:
    """C4: no priority or 0 first, then 1, 2, …; LIFO in front of those without one."""
    ran: list[Any] = []

    def note(job: Any, ctx: Any) -> None:
        ran.append(job.data)

    for data, opts in (
        ("p2", {"priority": 2}),
        ("p1", {"priority": 1}),
        ("a", {}),
        ("b", {}),
        ("last in", {"lifo": True}),
    ):
        await peer.do("add", queue="default", name="note", data=data, opts=opts)
    async with serving(backend, {"note": note}, queues={"default": {"concurrency": 1}}, **ON_REDIS):
        await until(lambda: len(ran) == 5)
    assert ran == ["last in", "a", "b", "p1", "p2"]


async def test_delays_are_kept_to_the_millisecond(peer: Peer, host: Hosted) -> None:
    """Not early, and due at the millisecond; how late a job starts is for a benchmark to say."""
    await peer.do("listen", queue="default")
    id = await peer.do("add", queue="default", name="echo", data=1, opts={"delay": 150})
    await peer.do("wait", queue="default", id=id)
    job = await peer.do("job", queue="default", id=id)
    assert job["processedOn"] - job["timestamp"] >= 150
    later = await peer.do("add", queue="default", name="echo", data=1, opts={"delay": 3_600_001})
    delayed = await host.job(later)
    assert delayed.delay_until == delayed.created_at + 3_600_001


async def test_custom_ids_and_deduplication(peer: Peer, host: Hosted) -> None:
    """A second add of an id is one job; so is one of a deduplication id."""
    await peer.do("pause", queue="default")
    first = await peer.do("add", queue="default", name="echo", data=1, opts={"jobId": "mine"})
    assert await peer.do("add", queue="default", name="echo", data=2, opts={"jobId": "mine"}) == first == "mine"
    [again] = await host.backend.add([NewJob("echo", b"3", id="mine")])
    assert (again.id, again.created) == ("mine", False)
    opts = {"deduplication": {"id": "once"}}
    one = await peer.do("add", queue="default", name="echo", data="one", opts=opts)
    assert await peer.do("add", queue="default", name="echo", data="two", opts=opts) == one
    await peer.do("resume", queue="default")
    assert result_of(await host.done("mine")) == 1
    assert result_of(await host.done(one)) == "one"
    # The winner has ended, so the next one is another job.
    assert await peer.do("add", queue="default", name="echo", data="three", opts=opts) != one


async def test_deduplication_with_a_time_and_with_the_last_data(peer: Peer, backend: RedisBackend) -> None:
    """Within its ttl one id is one job, also once that has ended; of a debounced one and of an active one's successors the last runs."""
    gate = Gate()
    async with serving(backend, {"echo": echo, "gate": gate}, **ON_REDIS) as host:

        async def add(name: str, data: Any, **deduplication: Any) -> str:
            delay = deduplication.pop("delay", 0)
            opts = {"deduplication": deduplication, "delay": delay}
            return str(await peer.do("add", queue="default", name=name, data=data, opts=opts))

        throttled = await add("echo", 1, id="throttle", ttl=60_000)
        assert result_of(await host.done(throttled)) == 1
        assert await add("echo", 2, id="throttle", ttl=60_000) == throttled

        debounce = {"id": "debounce", "ttl": 60_000, "extend": True, "replace": True, "delay": 400}
        await add("echo", "first", **debounce)
        last = await add("echo", "last", **debounce)
        assert result_of(await host.done(last)) == "last"
        counts = await peer.do("counts", queue="default")
        assert (counts["completed"], counts["delayed"]) == (2, 0)

        running = await add("gate", 1, id="latest", keepLastIfActive=True)
        await until(lambda: gate.entered == [running])
        for n in (2, 3, 4):
            await add("gate", n, id="latest", keepLastIfActive=True)
        gate.open()
        await until(lambda: len(gate.entered) == 2)
        successor = await host.done(gate.entered[1])
        assert (successor.state, successor.data) == ("completed", b"4")


async def test_a_rate_limit_is_one_with_bullmqs_workers(peer: Peer, backend: RedisBackend) -> None:
    """H2: a host counts with BullMQ's workers in one window, and keeps a limit that somebody set by hand."""
    rate = Rate(2, 60_000)
    await backend.open()
    try:
        await backend.add([NewJob("echo") for _ in range(5)])
        assert len((await backend.claim("default", 5, Admission(), 30_000, "host", rate)).claims) == 2
        assert 0 < await peer.do("limitTtl", queue="default", max=2) <= 60_000
        await backend.add([NewJob("echo", queue="other")])
        await peer.do("limitFor", queue="other", ms=60_000)
        held = await backend.claim("other", 5, Admission(), 30_000, "host", rate)
        assert held.claims == []
        assert held.next_due is not None
        assert 0 < held.next_due - time.time() * 1000 <= 60_000
    finally:
        await backend.close()


RATE_LIMITED = """
const { RateLimitError } = require("bullmq");
let tries = 0;
module.exports = async (job) => {
  tries += 1;
  if (tries === 1) throw new RateLimitError();
  return tries;
};
"""


async def test_a_processor_that_is_told_to_wait_comes_back(peer: Peer, backend: RedisBackend, tmp_path: Path) -> None:
    """`RateLimitError`: back to waiting until the queue's limit lets it begin; no attempt is used."""
    queues = {"default": {"rate_limit": {"max": 1, "every": "200ms"}, "concurrency": 4}}
    async with hosted(
        backend, processors(tmp_path / "bundle", limited=RATE_LIMITED), queues=queues, **ON_REDIS
    ) as host:
        job = await host.done(await peer.do("add", queue="default", name="limited", data=1))
        assert (result_of(job), job.attempts_made) == (2, 1)


async def test_many_at_once_by_bullmqs_own_queue(peer: Peer, host: Hosted) -> None:
    """L2: retry all, promote all, drain, clean and obliterate of BullMQ, with jobs that jobhost ended."""
    ids = await peer.do("addBulk", queue="default", jobs=[{"name": "fail", "data": n} for n in range(3)])
    for id in ids:
        assert (await host.done(id)).state == "failed"
    host.host.pause()
    await peer.do("retryAll", queue="default", opts={"state": "failed"})
    assert (await peer.do("counts", queue="default"))["waiting"] == 3
    assert {(await host.job(id)).attempts_made for id in ids} == {1}
    delayed = [{"name": "echo", "data": n, "opts": {"delay": 3_600_000}} for n in range(2)]
    await peer.do("addBulk", queue="default", jobs=delayed)
    await peer.do("promoteAll", queue="default")
    assert (await peer.do("counts", queue="default"))["waiting"] == 5
    await peer.do("drain", queue="default", delayed=True)
    assert (await peer.do("counts", queue="default"))["waiting"] == 0
    host.host.resume()
    done = await host.done(await peer.do("add", queue="default", name="echo", data=1))
    assert await peer.do("clean", queue="default", grace=0, limit=10, type="completed") == [done.id]
    await peer.do("add", queue="default", name="echo", data=1, opts={"delay": 3_600_000})
    await peer.do("obliterate", queue="default", force=True)
    assert await host.backend.jobs("default") == ([], None)
    # And what is added afterwards is worked as ever.
    assert result_of(await host.done(await peer.do("add", queue="default", name="echo", data=2))) == 2


async def test_a_pause_holds_for_both(peer: Peer, host: Hosted) -> None:
    """L2: BullMQ's pause stops jobhost, and jobhost's stops BullMQ."""
    await peer.do("pause", queue="default")
    id = await peer.do("add", queue="default", name="echo", data=1)
    assert [info.paused for info in await host.backend.queues()] == [True]
    assert (await host.job(id)).state == "waiting"
    await host.backend.resume("default")
    assert result_of(await host.done(id)) == 1
    await host.backend.pause("images")
    await peer.do("work", queue="images")
    waiting = await peer.do("add", queue="images", name="echo", data=2)
    assert (await peer.do("counts", queue="images"))["waiting"] == 1
    await peer.do("resume", queue="images")
    assert (await host.until(waiting, lambda job: job.state == "completed", "images")).result == b"2"
    await peer.do("rest")


async def test_what_is_kept_is_the_producers_say(peer: Peer, host: Hosted) -> None:
    """C7: removeOnComplete and removeOnFail of the job count over the queue's."""
    await peer.do("listen", queue="default")
    gone = await peer.do("add", queue="default", name="echo", data=1, opts={"removeOnComplete": True})
    with anyio.fail_after(PATIENCE):
        while await peer.do("job", queue="default", id=gone):
            await anyio.sleep(0.01)
    for n in range(5):
        await host.done(
            await peer.do("add", queue="default", name="echo", data=n, opts={"removeOnComplete": {"count": 10}})
        )
    last = await peer.do("add", queue="default", name="echo", data=9, opts={"removeOnComplete": 2})
    await host.done(last)
    assert (await peer.do("counts", queue="default"))["completed"] == 2


async def test_workers_and_metrics_are_seen(peer: Peer, host: Hosted) -> None:
    """I2: `getWorkers` finds the host, and `getMetrics` counts what it did."""
    for n in range(3):
        await host.done(await peer.do("add", queue="default", name="echo", data=n))
    await host.done(await peer.do("add", queue="default", name="fail"))
    assert [one["rawname"].split(":")[1:] for one in await peer.do("workers", queue="default")] == [
        ["ZGVmYXVsdA==", "w", "jobhost"]
    ]
    assert (await peer.do("metrics", queue="default", type="completed"))["meta"]["count"] == 3
    assert (await peer.do("metrics", queue="default", type="failed"))["meta"]["count"] == 1


async def test_a_parent_waits_for_its_children(peer: Peer, backend: RedisBackend) -> None:
    """F5: BullMQ's flows: children of two queues, the parent runs when all have ended."""
    async with serving(backend, {"echo": echo}, queues={"default": {}, "images": {}}, **ON_REDIS) as host:
        tree = {
            "name": "echo",
            "queueName": "default",
            "data": "parent",
            "children": [
                {"name": "echo", "queueName": "images", "data": n, "opts": {"delay": 20 * n}} for n in range(3)
            ],
        }
        id = await peer.do("flow", tree=tree)
        assert result_of(await host.done(id)) == "parent"
        done = await host.backend.counts("images")
        assert done["completed"] == 3


def gather(job: Any, ctx: Any) -> Any:
    return ctx.children()


@pytest.mark.parametrize("language", ["in-process", "node"])
async def test_a_parent_reads_the_results_of_its_children(
    peer: Peer, backend: RedisBackend, language: str, tmp_path: Path
) -> None:
    """F5: `ctx.children()` in Python, BullMQ's `getChildrenValues` in an unchanged processor: by child key."""
    (tmp_path / "gather.js").write_text("module.exports = async (job) => job.getChildrenValues();\n")
    bundles = [{"path": tmp_path}] if language == "node" else []
    functions = {"echo": echo} if language == "node" else {"echo": echo, "gather": gather}
    async with serving(backend, functions, *bundles, queues={"default": {}, "images": {}}, **ON_REDIS) as host:
        children = [{"name": "echo", "queueName": "images", "data": {"n": n}} for n in range(3)]
        id = await peer.do("flow", tree={"name": "gather", "queueName": "default", "data": 0, "children": children})
        found = result_of(await host.done(id))
        assert sorted(found.values(), key=lambda value: value["n"]) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert all(key.startswith(f"{backend._store.prefix}:images:") for key in found)


@pytest.mark.parametrize(
    ("option", "ends"),
    [
        ("failParentOnFailure", "failed"),
        ("ignoreDependencyOnFailure", "completed"),
        ("removeDependencyOnFailure", "completed"),
        ("continueParentOnFailure", "completed"),
        (None, "waiting-children"),
    ],
)
async def test_what_a_childs_failure_does_to_its_parent(
    peer: Peer, backend: RedisBackend, option: str | None, ends: str
) -> None:
    """F5: the options of BullMQ's flows."""
    async with serving(backend, {"echo": echo, "fail": fail}, queues={"default": {}, "images": {}}, **ON_REDIS) as host:
        opts = {option: True} if option else {}
        tree = {
            "name": "echo",
            "queueName": "default",
            "data": "parent",
            "children": [{"name": "fail", "queueName": "images", "opts": opts}],
        }
        id = await peer.do("flow", tree=tree)
        with anyio.fail_after(PATIENCE):
            while (await host.backend.counts("images"))["failed"] < 1:
                await anyio.sleep(0.01)
        job = await host.until(id, lambda job: job.state == ends)
        if ends == "failed":
            assert error_of(job)["type"] == "UnrecoverableError"
            assert "failed" in error_of(job)["message"]


async def test_schedulers_go_on(peer: Peer, host: Hosted) -> None:
    """C5: BullMQ's job schedulers: each iteration makes the next, at the times that Node would give, up to the limit."""
    repeat = {"every": 150, "limit": 4}
    await peer.do("schedule", queue="default", id="tick", repeat=repeat, template={"name": "echo", "data": "tick"})
    with anyio.fail_after(PATIENCE):
        while (await host.backend.counts("default"))["completed"] < 4:
            await anyio.sleep(0.01)
    jobs, _ = await host.backend.jobs("default")
    assert [result_of(job) for job in jobs] == ["tick"] * 4
    slots = sorted(int(job.id.rsplit(":", 1)[1]) for job in jobs)
    # On a slow machine a slot may be passed over, as with Node; each is on the grid all the same.
    assert all(later > sooner and (later - sooner) % 150 == 0 for sooner, later in pairwise(slots))
    assert (await host.backend.counts("default"))["delayed"] == 0


async def test_cron_with_a_time_zone_goes_on(peer: Peer, host: Hosted) -> None:
    """C5: the next time is where Node puts it."""
    repeat = {"pattern": "0 30 9 * * *", "tz": "Asia/Kathmandu"}
    first = await peer.do("schedule", queue="default", id="daily", repeat=repeat, template={"name": "echo", "data": 1})
    await peer.do("promote", queue="default", id=first)
    await host.done(first)
    [following] = [job for job in (await host.backend.jobs("default"))[0] if job.state == "delayed"]
    planned, next_one = int(first.rsplit(":", 1)[1]), int(following.id.rsplit(":", 1)[1])
    assert next_one - planned == 86_400_000, "Kathmandu has no summer time"
    assert following.delay_until == next_one


async def test_a_node_producer_adds_to_a_flow_and_a_node_worker_ends_it(peer: Peer, backend: RedisBackend) -> None:
    """F2, F5: `flowId` in the data of a job that Node adds; a step that a worker of BullMQ works ends its flow too."""

    async def place(job: Any, ctx: Any) -> Any:
        await ctx.flow.emit("placed", {"n": 1})
        return [ctx.flow_id, ctx.flow_name, ctx.step_id]

    theirs = {"queue": "theirs", "flow": {"name": "orders", "subscribes": ["placed"]}}
    handlers = {"place": (place, {"flow": {"name": "orders", "emits": ["placed"]}}), "echo": (echo, theirs)}
    async with (
        serving(backend, handlers, only=["default"], **ON_REDIS) as host,
        Client(backend=host.backend) as client,
    ):
        with anyio.fail_after(PATIENCE):
            await host.host.publisher.done.wait()
        id = await peer.do("add", queue="default", name="place", data={"flowId": "from-node", "flowName": "orders"})
        assert result_of(await host.done(id)) == ["from-node", "orders", "from-node__place__attempt-1"]
        flow = client.flow("from-node")
        assert (await flow.info())["status"] == "running"
        await peer.do("work", queue="theirs")
        with anyio.fail_after(PATIENCE):
            while (await host.backend.counts("theirs"))["completed"] < 1:
                await anyio.sleep(0.01)
        await host.backend.sweep_flows(None, 0)  # as every host does once a minute
        assert (await flow.info())["status"] == "completed"
        assert [(job["name"], job["state"]) for job in await flow.jobs()] == [
            ("place", "completed"),
            ("echo", "completed"),
        ]


async def test_schedules_may_be_job_schedulers_that_node_sees(peer: Peer, host: Hosted) -> None:
    """C5: BullMQ's job schedulers on Redis: made, listed, changed and removed from here, known there; and the reverse."""
    async with Client(backend=host.backend) as client:
        added = await client.schedules.put("ours", "echo", {"n": 1}, every="150ms", bullmq=True, attempts=2)
        assert (added["bullmq"], added["every"], added["queue"]) == (True, "150ms", "default")
        [seen] = await peer.do("schedulers", queue="default")
        assert (seen["key"], seen["name"], seen["every"], seen["template"]["data"]) == ("ours", "echo", 150, {"n": 1})
        assert seen["template"]["opts"]["attempts"] == 2
        with anyio.fail_after(PATIENCE):
            while (await host.backend.counts("default"))["completed"] < 3:
                await anyio.sleep(0.01)
        await client.schedules.put("ours", "echo", cron="0 7 * * *", tz="Europe/Berlin", bullmq=True)
        [seen] = await peer.do("schedulers", queue="default")
        assert (seen["pattern"], seen["tz"], "every" in seen) == ("0 7 * * *", "Europe/Berlin", False)
        repeat = {"pattern": "0 30 9 * * *", "tz": "Asia/Kathmandu"}
        await peer.do("schedule", queue="default", id="theirs", repeat=repeat, template={"name": "echo", "data": 7})
        theirs = (await client.schedules.list())[1]
        assert (theirs["id"], theirs["job"], theirs["cron"], theirs["data"]) == ("theirs", "echo", "0 30 9 * * *", 7)
        assert theirs["next_at"] is not None
        with pytest.raises(ValueError, match="has no pause"):
            await client.schedules.pause("theirs")
        ran = await client.schedules.run("theirs")
        assert await ran.result(timeout="20s") == 7
        assert await client.schedules.remove("theirs")
        assert await client.schedules.remove("ours")
        assert not await client.schedules.remove("ours")
        assert await peer.do("schedulers", queue="default") == []
        # The other kind under the same id: there is one of them at a time.
        await client.schedules.put("ours", "echo", every="1h", bullmq=True)
        await client.schedules.put("ours", "echo", every="1h", overlap="skip")
        assert await peer.do("schedulers", queue="default") == []
        assert [one["bullmq"] for one in await client.schedules.list()] == [False]


async def test_a_global_concurrency_is_kept(peer: Peer, backend: RedisBackend) -> None:
    """H1: `setGlobalConcurrency` of BullMQ holds over jobhost's places, and does not slow it to a crawl."""
    gate = Gate()
    async with serving(backend, {"gate": gate}, **ON_REDIS) as host:
        await peer.do("concurrency", queue="default", n=2)
        ids = await peer.do("addBulk", queue="default", jobs=[{"name": "gate", "data": n} for n in range(8)])
        await until(lambda: len(gate.entered) == 2)
        assert (await host.backend.counts("default"))["active"] == 2
        gate.open()
        for id in ids:
            assert (await host.done(id)).state == "completed"
        assert gate.most == 2


async def test_jobs_of_a_host_that_died_are_taken_by_bullmqs_workers_and_the_reverse(
    peer: Peer, backend: RedisBackend
) -> None:
    """Stalled recovery both ways: whoever looks first takes what has no lock any more."""
    async with serving(
        backend, {"echo": echo}, queues={"default": {"paused": True, "stalled_interval": "50ms"}}, **ON_REDIS
    ) as host:
        [added] = await backend.add([NewJob("echo", b"7")])
        await _abandon(backend, added.id)
        waiting = await host.until(added.id, lambda job: job.state == "waiting")
        assert (waiting.stalled, waiting.attempts_made) == (1, 0)
        host.host.resume()
        assert result_of(await host.done(added.id)) == 7
        assert (await peer.do("job", queue="default", id=added.id))["stalledCounter"] == 1


async def test_a_node_worker_takes_what_a_dead_host_left(peer: Peer, backend: RedisBackend) -> None:
    """The reverse: locks that ran out are seen by BullMQ's own search; each job ends once, and counts one stall."""
    await backend.open()
    try:
        ids = [one.id for one in await backend.add([NewJob("echo", b"%d" % n) for n in range(50)])]
        held = await backend.claim("default", 50, Admission(), 1, "a host that dies")
        assert len(held.claims) == 50
        await peer.do("listen", queue="default")
        await peer.do("work", queue="default", concurrency=5, opts={"stalledInterval": 100, "maxStalledCount": 1})
        for n, id in enumerate(ids):
            assert await peer.do("wait", queue="default", id=id) == n
            job = await backend.get("default", id)
            assert job is not None
            assert (job.state, job.stalled, job.attempts_made) == ("completed", 1, 1)
        late = Settlement(Lease("default", ids[0], held.claims[0].token), "completed", result=b'"late"')
        assert await backend.settle([late]) == [False], "the host that was thought dead may not complete it"
        await peer.do("rest")
    finally:
        await backend.close()


async def _abandon(backend: RedisBackend, id: str) -> None:
    """Claim a job as a host does that dies at once."""
    claimed = await backend.claim("default", 1, Admission(), 1, "a host that dies")
    assert [claim.job.id for claim in claimed.claims] == [id]


@pytest.mark.parametrize("language", ["in-process", "node"])
async def test_the_trace_of_the_producer_goes_on(
    peer: Peer, backend: RedisBackend, language: str, tmp_path: Path
) -> None:
    """Telemetry: `tm` of BullMQ's producers is `ctx.traceparent`; what is no trace context is none."""
    (tmp_path / "trace.mjs").write_text("export default async (job, ctx) => ctx.traceparent;\n")
    bundles = [{"path": tmp_path}] if language == "node" else []
    functions = {} if language == "node" else {"trace": lambda job, ctx: ctx.traceparent}
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    async with serving(backend, functions, *bundles, **ON_REDIS) as host:
        for carried, seen in (
            (json.dumps({"traceparent": trace, "tracestate": "x=1"}), trace),
            (trace, trace),
            ("rubbish", None),
            ('{"traceparent": 5}', None),
        ):
            opts = {"telemetry": {"metadata": carried}}
            assert result_of(await host.done(await peer.do("add", queue="default", name="trace", opts=opts))) == seen


async def test_what_bullmq_adds_is_read_whole(peer: Peer, host: Hosted) -> None:
    """Listings and `get` of jobs that another producer added."""
    await peer.do("pause", queue="default")
    opts = {"priority": 5, "attempts": 4, "backoff": {"type": "exponential", "delay": 200, "jitter": 0.5}}
    id = await peer.do("add", queue="default", name="echo", data={"ä": 1}, opts=opts)
    job = await host.job(id)
    assert (job.name, json.loads(job.data), job.state, job.priority, job.max_attempts) == (
        "echo",
        {"ä": 1},
        "prioritized",
        5,
        4,
    )
    assert json.loads(job.backoff or b"") == opts["backoff"]
    delayed = await peer.do("add", queue="default", name="echo", opts={"delay": 3_600_000})
    later = await host.job(delayed)
    assert later.state == "delayed"
    assert later.delay_until == later.created_at + 3_600_000
    jobs, _ = await host.backend.jobs("default")
    assert [job.id for job in jobs] == [delayed, id]


STEPS = """
const { DelayedError } = require("bullmq");
// A process in steps, as BullMQ's guide writes it.
module.exports = async (job, token) => {
  if ((job.data.step ?? 1) === 1) {
    await job.updateData({ ...job.data, step: 2 });
    await job.log(`step 1 of ${job.name}, attempt ${job.attemptsMade}`);
    await job.moveToDelayed(Date.now() + 50, token);
    throw new DelayedError();
  }
  await job.updateProgress(100);
  return { step: job.data.step, made: job.attemptsMade };
};
"""

PARENT = """
import { WaitingChildrenError, FlowProducer } from "bullmq";
export default async function (job) {
  if (!job.data.children) {
    const flow = new FlowProducer({ prefix: job.data.prefix, connection: { host: "127.0.0.1", port: job.data.port } });
    const parent = { id: job.id, queue: `${job.data.prefix}:default` };
    for (let n = 0; n < 3; n++) await flow.add({ name: "echo", queueName: "images", data: n, opts: { parent } });
    await flow.close();
    await job.updateData({ ...job.data, children: true });
  }
  if (await job.moveToWaitingChildren()) throw new WaitingChildrenError();
  return Object.values(await job.getChildrenValues()).sort();
}
"""


def processors(folder: Path, **files: str) -> dict[str, Any]:
    """A bundle of processor files that finds the real `bullmq`, as a team's own folder does."""
    folder.mkdir()
    (folder / "node_modules").symlink_to(NODE_TESTS / "node_modules")
    for name, text in files.items():
        (folder / f"{name}.{'mjs' if 'export default' in text else 'js'}").write_text(text)
    return {"path": folder}


async def test_a_processor_in_steps_runs_unchanged(peer: Peer, backend: RedisBackend, tmp_path: Path) -> None:
    """A12, E1: a sandboxed processor of BullMQ: updateData, moveToDelayed with DelayedError, log, updateProgress."""
    table = {**processors(tmp_path / "p", steps=STEPS), "job": "*"}
    async with serving(backend, {}, table, **ON_REDIS):
        await peer.do("listen", queue="default")
        id = await peer.do("add", queue="default", name="whatever", data={"of": "a"})
        assert await peer.do("wait", queue="default", id=id) == {"step": 2, "made": 0}
        job = await peer.do("job", queue="default", id=id)
        assert (job["data"], job["attemptsMade"], job["progress"]) == ({"of": "a", "step": 2}, 1, 100)
        assert job["logs"] == ["step 1 of whatever, attempt 0"]


async def test_a_processor_that_waits_for_children_it_made(peer: Peer, backend: RedisBackend, tmp_path: Path) -> None:
    """F5: moveToWaitingChildren with WaitingChildrenError, from an ES module."""
    place = urlsplit(server_url())
    async with serving(
        backend,
        {"echo": echo},
        processors(tmp_path / "p", parent=PARENT),
        queues={"default": {}, "images": {}},
        **ON_REDIS,
    ) as host:
        data = {"prefix": backend._store.prefix, "port": place.port}
        id = await peer.do("add", queue="default", name="parent", data=data)
        job = await host.done(id)
        assert (result_of(job), job.attempts_made) == ([0, 1, 2], 1)


LINGERING = """
import { existsSync, writeFileSync } from "node:fs";
import { WaitingChildrenError, FlowProducer } from "bullmq";
const until = async (file) => { while (!existsSync(file)) await new Promise((go) => setTimeout(go, 5)); };
export default async function (job) {
  const { prefix, port, folder } = job.data;
  if (!job.data.children) {
    await job.updateData({ ...job.data, children: true });
    const flow = new FlowProducer({ prefix, connection: { host: "127.0.0.1", port } });
    await flow.add({ name: "echo", queueName: "images", opts: { parent: { id: job.id, queue: `${prefix}:default` }, delay: 100 } });
    await flow.close();
  }
  if (await job.moveToWaitingChildren()) {
    await until(`${folder}/second`);
    throw new WaitingChildrenError();
  }
  writeFileSync(`${folder}/second`, "");
  await until(`${folder}/end`);
  return "second";
}
"""


async def test_a_run_that_lingers_after_it_let_its_job_wait_takes_nothing_from_the_next(
    peer: Peer, backend: RedisBackend, tmp_path: Path
) -> None:
    """The same host may have the job again before the first run has ended: the lease of the second one is kept."""
    table = {**processors(tmp_path / "p", lingering=LINGERING), "pool": {"children": 1}}
    async with serving(backend, {"echo": echo}, table, queues={"default": {}, "images": {}}, **ON_REDIS) as host:
        data = {"prefix": backend._store.prefix, "port": urlsplit(server_url()).port, "folder": str(tmp_path)}
        id = await peer.do("add", queue="default", name="lingering", data=data)
        await until((tmp_path / "second").exists)
        worker = host.host.workers["default"]
        await until(lambda: worker.running == 1)
        assert list(worker.live) == [id]
        (tmp_path / "end").touch()
        job = await host.done(id)
        assert (result_of(job), job.attempts_made) == ("second", 1)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis", "postgres"])
async def test_moving_a_job_needs_no_redis(kind: str, tmp_path: Path) -> None:
    """One semantics on every backend: a processor in steps runs on an embedded queue too."""
    steps = STEPS.replace(
        'require("bullmq")', '{ DelayedError: class DelayedError extends Error { name = "DelayedError" } }'
    )
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "steps.js").write_text(steps)
    async with serving(make_backend(kind, tmp_path), {}, {"path": tmp_path / "p"}) as host:
        job = await host.run("steps", {"of": "a"})
        assert (result_of(job), job.attempts_made) == ({"step": 2, "made": 0}, 1)
        assert json.loads(job.data) == {"of": "a", "step": 2}
