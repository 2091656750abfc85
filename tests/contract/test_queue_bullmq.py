"""What BullMQ does in its own way: places in the line, numbers of jobs, and jobs whose handler has no place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from jobhost.errors import ConfigurationError
from jobhost.queues.admission import Admission
from jobhost.queues.job import LogLine, NewJob
from jobhost.queues.redis import RedisBackend
from jobhost.queues.redis.address import parse_url

from tests.redis_server import age, fresh_prefix, server_url

from .backends import (
    LEASE_MS,
    TurnedClock,
    Wakes,
    add,
    claim,
    claim_one,
    completed,
    failed,
    ids,
    lease,
    opened,
    returned,
)
from .functions import Recorder

pytestmark = pytest.mark.anyio


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
async def queue(prefix: str, clock: TurnedClock, anyio_backend: str) -> AsyncIterator[RedisBackend]:
    clock.turned.append(lambda ms: age(prefix, ms))
    backend = RedisBackend(server_url(), prefix, clock)
    async with opened(backend):
        yield backend


@pytest.fixture
def raw() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url()) as client:
        yield client


async def names_in_order(queue: RedisBackend) -> list[str]:
    return [one.job.name for one in await claim(queue, 100)]


async def test_every_add_counts_also_one_that_brings_its_id(queue: RedisBackend) -> None:
    """Numbers of jobs are the count of adds."""
    added = await queue.add([NewJob("a", id="x"), NewJob("a", id="x"), NewJob("a")])
    assert [(one.id, one.created) for one in added] == [("x", True), ("x", False), ("3", True)]


async def test_lifo_says_nothing_among_priorities(queue: RedisBackend) -> None:
    """LIFO goes in front of the jobs without a priority; those with one go by age."""
    await queue.add([NewJob("a"), NewJob("b", lifo=True), NewJob("c", priority=1), NewJob("d", priority=1, lifo=True)])
    assert await names_in_order(queue) == ["b", "a", "c", "d"]


async def test_a_delayed_job_that_is_due_goes_to_the_end(queue: RedisBackend, clock: TurnedClock) -> None:
    await queue.add([NewJob("delayed", delay_ms=100)])
    clock.advance(50)
    await add(queue, "younger")
    clock.advance(50)
    assert await names_in_order(queue) == ["younger", "delayed"]


async def test_a_job_whose_handler_has_no_place_comes_back_100_ms_later(
    queue: RedisBackend, clock: TurnedClock
) -> None:
    """Row: its handler is at its limit (Redis: delayed 100 ms). No attempt is used; the others of the queue go on."""
    await add(queue, "full", "free", "full", "free")
    claimed = await claim(queue, 10, admission=Admission([(["full"], 0)]))
    assert [one.job.name for one in claimed] == ["free", "free"]
    counts = await queue.counts("default")
    assert (counts["waiting"], counts["delayed"]) == (0, 2)
    job = await queue.get("default", "1")
    assert job is not None
    assert (job.attempts_made, job.delay_until) == (0, clock.now + 100)
    assert await claim(queue, 10) == []
    clock.advance(100)
    assert await names_in_order(queue) == ["full", "full"]


async def test_a_queue_of_jobs_without_a_place_is_not_turned_over(queue: RedisBackend, clock: TurnedClock) -> None:
    """A handler at its limit with thousands of jobs waiting costs a claim each 100 ms, and no busy loop."""
    await queue.add([NewJob("full") for _ in range(1_000)])
    claimed = await queue.claim("default", 10, Admission([(["full"], 0)]), LEASE_MS, "h")
    assert (claimed.claims, claimed.more, claimed.next_due) == ([], False, clock.now + 100)
    assert (await queue.counts("default"))["delayed"] == 10


async def test_an_empty_claim_says_when_to_ask_again(
    queue: RedisBackend, clock: TurnedClock, raw: redis.Redis, prefix: str
) -> None:
    """H2: the next delayed job, and the end of a rate limit that a producer has set for the whole queue."""
    await queue.add([NewJob("a", delay_ms=500)])
    assert (await queue.claim("default", 5, Admission(), LEASE_MS, "h")).next_due == clock.now + 500
    raw.hset(f"{prefix}:limited:meta", mapping={"max": 2, "duration": 60_000})
    await add(queue, *"abc", queue="limited")
    claimed = await queue.claim("limited", 10, Admission(), LEASE_MS, "h")
    assert [claim.job.name for claim in claimed.claims] == ["a", "b"]
    again = await queue.claim("limited", 10, Admission(), LEASE_MS, "h")
    assert again.claims == []
    assert again.next_due is not None
    assert 50_000 < again.next_due - clock.now <= 60_000


async def test_a_paused_queue_keeps_what_comes_back(queue: RedisBackend, clock: TurnedClock) -> None:
    """L2: retries and delayed jobs too; then the order is BullMQ's."""
    await add(queue, "retried")
    running = await claim_one(queue)
    await queue.pause("default")
    await queue.settle([returned(running, 0)])
    await queue.add([NewJob("delayed", delay_ms=10), NewJob("fresh")])
    clock.advance(10)
    assert await claim(queue, 10) == []
    await queue.resume("default")
    assert sorted(await names_in_order(queue)) == ["delayed", "fresh", "retried"]


async def test_a_retried_job_goes_to_the_end_of_its_priority(queue: RedisBackend) -> None:
    await queue.add([NewJob("a", priority=1), NewJob("b", priority=1), NewJob("c", priority=2)])
    await queue.settle([returned(await claim_one(queue), 0)])
    assert await names_in_order(queue) == ["b", "a", "c"]


async def test_a_job_handed_back_goes_in_front(queue: RedisBackend) -> None:
    """A host that stops: no attempt used, and its turn is not lost."""
    await add(queue, "a", "b")
    first = await claim_one(queue)
    await queue.settle([returned(first, 0, attempt_used=False)])
    assert await names_in_order(queue) == ["a", "b"]


async def test_a_job_that_is_run_again_goes_to_the_end(queue: RedisBackend) -> None:
    """C6: retry of a completed and of a failed job, with all its attempts."""
    await add(queue, "a", "b")
    a, b = await claim(queue, 2)
    await queue.settle([completed(a), failed(b)])
    await add(queue, "c")
    assert await queue.retry("default", "1")
    assert await queue.retry("default", "2")
    assert [(one.job.name, one.job.attempts_made, one.job.error) for one in await claim(queue, 9)] == [
        ("c", 0, None),
        ("a", 0, None),
        ("b", 0, None),
    ]


async def test_a_cancelled_job_is_run_again_when_asked(queue: RedisBackend) -> None:
    await add(queue, "a", "b")
    assert await queue.cancel("default", "1") == "cancelled"
    assert await queue.retry("default", "1")
    assert await names_in_order(queue) == ["b", "a"]


async def test_keys_are_bullmqs_and_ours_are_apart(queue: RedisBackend, raw: redis.Redis, prefix: str) -> None:
    """O1: everything under the prefix; of the job's hash one field is ours, other keys are `prefix:queue:jh:*` or `prefix:jh:*`."""
    await queue.add([NewJob("a", b"1", timeout_ms=5, metadata=b'{"by":"me"}', flow_id="f")])
    claimed = await claim_one(queue)
    await queue.log([(lease(claimed), LogLine(1, "info", "hello", None, 1, "handler"))])
    await queue.state_set("job:default:1:0", "k", b"1", None, lease(claimed))
    await queue.cancel("default", "1")
    fields = set(raw.hgetall(f"{prefix}:default:1"))
    assert fields == {
        b"name",
        b"data",
        b"opts",
        b"timestamp",
        b"delay",
        b"priority",
        b"processedOn",
        b"pb",
        b"ats",
        b"jh",
    }
    theirs = {"1", "1:lock", "1:logs", "active", "events", "id", "marker", "meta"}
    for key in raw.scan_iter(match=f"{prefix}:*"):
        rest = key.decode().removeprefix(f"{prefix}:")
        assert rest.startswith(("default:jh:", "jh:")) or rest.removeprefix("default:") in theirs, rest
    assert raw.lrange(f"{prefix}:default:1:logs", 0, -1) == [b"hello"]


async def test_state_of_a_job_that_bullmq_has_pruned_is_gone(
    queue: RedisBackend, raw: redis.Redis, prefix: str
) -> None:
    """BullMQ removes jobs without a word to us: what is left of their state counts as nothing, and ends by itself."""
    await add(queue, "a")
    claimed = await claim_one(queue)
    scope = f"job:default:1:{claimed.job.created_at}"
    await queue.state_set(scope, "k", b"1", None, lease(claimed))
    assert await queue.state_get(scope, "k") == b"1"
    raw.delete(f"{prefix}:default:1")
    assert await queue.state_get(scope, "k") is None
    assert 80 * 86_400 < raw.ttl(f"{prefix}:jh:state:{scope}") <= 90 * 86_400


async def test_a_lock_that_ran_out_is_taken_again_only_by_its_last_holder(
    queue: RedisBackend, clock: TurnedClock
) -> None:
    """Section 5: after an outage a host takes its lease again if nobody else has it, and finishes; else its result is dropped."""
    await add(queue, "a", "b")
    a, b = await claim(queue, 2)
    clock.advance(LEASE_MS)
    assert await queue.renew([lease(a)], LEASE_MS) == ["ok"]
    assert await queue.settle([completed(b)]) == [True]
    clock.advance(LEASE_MS)
    assert (await queue.recover("default", 5)).waiting == ["1"]
    again = await claim_one(queue)
    clock.advance(LEASE_MS)  # now nobody's lock is there, and the job has been started by another since
    assert await queue.renew([lease(a)], LEASE_MS) == ["lost"]
    assert await queue.settle([completed(a)]) == [False]
    assert await queue.settle([completed(again)]) == [True]


async def test_what_is_no_json_of_ours_is_read_all_the_same(queue: RedisBackend, raw: redis.Redis, prefix: str) -> None:
    """O1: fields that another program has spoiled hide no job."""
    await add(queue, "a")
    raw.hset(f"{prefix}:default:1", mapping={"jh": "{nope", "opts": "[1]", "priority": "high", "stacktrace": "x"})
    job = await queue.get("default", "1")
    assert job is not None
    assert (job.name, job.priority, job.max_attempts, job.error) == ("a", 0, None, None)
    assert await ids(queue) == ["1"]


async def test_pages_of_a_large_queue_hold_each_job_once_and_ask_for_little(
    queue: RedisBackend, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2: 5,000 numbered jobs and some with ids of their own, the newest first; a page reads a part of them."""
    for n in range(5):
        await queue.add([NewJob(f"{n}", id=f"mine-{n}"), *(NewJob("a") for _ in range(1_000))])
        clock.advance(1_000)
    asked = 0
    calls = queue._store.client.calls

    async def counted(commands: Any) -> Any:
        nonlocal asked
        asked += len(commands)
        return await calls(commands)

    monkeypatch.setattr(queue._store.client, "calls", counted)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        asked = 0
        page, cursor = await queue.jobs("default", limit=700, cursor=cursor)
        assert asked <= 3_000
        assert [job.created_at for job in page] == sorted((job.created_at for job in page), reverse=True)
        seen += [job.id for job in page]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5_005


@pytest.mark.parametrize("cursor", ["rubbish", "", "WzFd", "ééé"])
async def test_a_cursor_that_is_none_is_said(queue: RedisBackend, cursor: str) -> None:
    """O1."""
    with pytest.raises(ValueError, match="is no cursor of a listing"):
        await queue.jobs("default", cursor=cursor)


@pytest.mark.parametrize(
    ("version", "told"), [("bullmq:5.8.1", 1), ("bullmq:4.0.0", 1), ("bullmq:6.7.0", 0), ("other", 0)]
)
async def test_an_older_layout_is_said(
    queue: RedisBackend, raw: redis.Redis, prefix: str, version: str, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BullMQ writes its version into a queue's `meta`; its jobs are worked all the same."""
    log = Recorder()
    monkeypatch.setattr("structlog.get_logger", lambda name: log)
    raw.hset(f"{prefix}:default:meta", "version", version)
    woken = Wakes()
    stop = queue.watch(["default"], woken)
    await add(queue, "a")
    await woken.wait()
    assert [fields["version"] for fields in log.of("queue.older_layout")] == [version] * told
    assert (await claim_one(queue)).job.name == "a"
    stop()


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("redis://h:port/0", "no number as its port or database"),
        ("redis://h/db", "no number as its port or database"),
        ("rediss://h?cafile=/none.pem", "a certificate can't be read"),
    ],
)
def test_a_url_that_is_wrong_is_said_without_its_password(url: str, what: str) -> None:
    """B4: `rediss://` with CA and client certificates."""
    with pytest.raises(ConfigurationError, match=what) as caught:
        parse_url(url.replace("//", "//user:secret@"))
    assert "secret" not in str(caught.value)


def test_urls_say_where_and_who(tmp_path: Path) -> None:
    """B4: host, port, database, user, password, socket."""
    one = parse_url("redis://us%3Aer:p%40ss@h:6380/3")
    assert (one.host, one.port, one.db, one.username, one.password, one.tls) == ("h", 6380, 3, "us:er", "p@ss", None)
    assert one.shown == "redis://h:6380/3"
    socket = parse_url(f"unix://{tmp_path}/redis.sock?db=2&password=x")
    assert (socket.path, socket.db, socket.password) == (f"{tmp_path}/redis.sock", 2, "x")
    assert parse_url("rediss://h").tls is not None
    assert parse_url("redis://").host == "localhost"
