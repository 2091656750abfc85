"""One script of ours for many of BullMQ's calls has the same effect: every key of the server is compared after both ways."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobhost.queues.admission import Admission
from jobhost.queues.job import Keep, Lease, NewJob, Settlement
from jobhost.queues.redis import RedisBackend, claiming, settling
from jobhost.queues.redis.jobs import pairs
from jobhost.queues.redis.store import Store

from tests.redis_server import fresh_prefix, server_url

from .backends import TurnedClock

JOBS = st.builds(
    NewJob,
    st.sampled_from(["a", "b"]),
    st.sampled_from([b"1", b'{"n":[1,2]}', b'"x"']),
    id=st.none() | st.sampled_from(["x", "y", "7"]),
    delay_ms=st.sampled_from([0, 0, 0, 50, 500]),
    priority=st.sampled_from([0, 0, 0, 1, 2]),
    lifo=st.booleans(),
    attempts=st.none() | st.integers(1, 3),
    timeout_ms=st.none() | st.just(5),
)
OWN_KEEP = st.sampled_from([None, True, False, 0, 1, {"count": 2}, {"age": 5}])
"""`removeOnComplete` of the job itself, as BullMQ's producers write it."""
FACTS = st.sampled_from(
    [{}, {}, {}, {"parentKey": "bull:other:1"}, {"deid": "once"}, {"atm": "2"}, {"failedReason": "before"}]
)
"""Fields of a job's hash that BullMQ's script looks at."""
META = st.sampled_from([{}, {}, {}, {"paused": "1"}, {"concurrency": "3"}, {"max": "2", "duration": "60000"}])
ROUNDS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.lists(st.sampled_from(["completed", "gone", "stolen", "removed", "kept"]), max_size=12),
        st.integers(0, 90_000),
    ),
    min_size=1,
    max_size=3,
)


@contextlib.contextmanager
def one_by_one() -> Iterator[None]:
    """BullMQ's own scripts, a call for each job."""

    async def move(store: Store, queue: str, tokens: Sequence[str], lease_ms: int, host: str, rate: Any) -> Any:
        moved: list[Any] = []
        for token in tokens:
            reply = await store.run(*claiming._move(store, store.keys(queue), token, lease_ms, host))
            if not reply[0]:
                return moved, claiming._due(reply, store.clock())
            moved.append((token, reply[1].decode(), pairs(reply[0])))
        return moved, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claiming, "_move_many", move)
        patch.setattr(settling, "_plain_keep", lambda store, one: None)
        yield


class World:
    """One queue under a prefix of its own, and what was said of it."""

    def __init__(self) -> None:
        self.prefix = fresh_prefix()
        self.clock = TurnedClock()
        self.backend = RedisBackend(server_url(), self.prefix, self.clock)
        self.backend._store.handle = "handle"
        self.said: list[Any] = []
        self.receipt: bytes | None = None

    async def live(self, raw: redis.Redis, jobs: list[Any], meta: dict[Any, Any], rounds: list[Any]) -> None:
        await self.backend.open()
        try:
            self.limited = "max" in meta
            if meta:
                raw.hset(f"{self.prefix}:q:meta", mapping=meta)
            for new, keep, facts in jobs:
                new.queue = "q"
                [added] = await self.backend.add([new])
                self.said.append(added.id)
                if added.created:
                    self._change(raw, added.id, keep, facts)
            for limit, ends, later in rounds:
                await self._round(raw, limit, ends)
                self.clock.advance(later)
        finally:
            await self.backend.close()

    def _change(self, raw: redis.Redis, id: str, keep: Any, facts: dict[Any, Any]) -> None:
        key = f"{self.prefix}:q:{id}"
        if keep is not None:
            import json

            opts = json.loads(raw.hget(key, "opts") or b"{}")
            raw.hset(key, "opts", json.dumps({**opts, "removeOnComplete": keep}))
        if facts:
            raw.hset(key, mapping=facts)

    async def _round(self, raw: redis.Redis, limit: int, ends: list[str]) -> None:
        claimed = await self.backend.claim("q", limit, Admission(), 30_000, "host")
        due = None if self.limited else claimed.next_due  # the end of a rate limit is by the server's own clock
        self.said.append(([(one.job, one.token) for one in claimed.claims], due))
        settlements = []
        for one, end in zip(claimed.claims, ends, strict=False):
            if end == "gone":
                raw.delete(f"{self.prefix}:q:{one.job.id}:lock")
                raw.hincrby(f"{self.prefix}:q:{one.job.id}", "ats", 1)
            elif end == "stolen":
                raw.set(f"{self.prefix}:q:{one.job.id}:lock", "another")
            elif end == "removed":
                raw.delete(f"{self.prefix}:q:{one.job.id}")
            keep = Keep(count=0) if end == "kept" else Keep()
            settlements.append(
                Settlement(
                    Lease("q", one.job.id, one.token), "completed", result=b'{"ok":1}', keep=keep, receipt=self.receipt
                )
            )
        self.said.append(await self.backend.settle(settlements))

    def keys(self, raw: redis.Redis) -> dict[str, Any]:
        """Every key with what it holds. Ids of events are the server's clock's; what counts is the order for each job."""
        found: dict[str, Any] = {}
        for key in raw.scan_iter(match=f"{self.prefix}:*", count=1000):
            name = key.decode().removeprefix(self.prefix)
            kind = raw.type(key)
            if kind == b"stream":
                found[name] = _by_job(fields for _, fields in raw.xrange(key) or ())
            elif kind == b"hash":
                found[name] = raw.hgetall(key)
            elif kind == b"list":
                found[name] = raw.lrange(key, 0, -1)
            elif kind == b"zset":
                found[name] = raw.zrange(key, 0, -1, withscores=True)
            elif kind == b"set":
                found[name] = raw.smembers(key)
            else:
                found[name] = (raw.get(key), raw.pttl(key) > 0)
        return found


def _by_job(events: Any) -> dict[Any, list[Any]]:
    """Jobs that end in one turn end in no order; the events of each do."""
    found: dict[Any, list[Any]] = {}
    for fields in events:
        found.setdefault(fields.get(b"jobId"), []).append(fields)
    return found


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(JOBS, OWN_KEEP, FACTS), max_size=14), META, ROUNDS, st.none() | st.just(b'{"pid":7}'))
def test_many_at_once_are_as_one_after_the_other(
    jobs: list[Any], meta: dict[Any, Any], rounds: list[Any], receipt: bytes | None
) -> None:
    """Item by item: claims in the same order with the same locks, ends with the same replies, events, sets, counts and metrics."""
    with redis.Redis.from_url(server_url()) as raw:
        at_once, by_one = World(), World()
        at_once.receipt = by_one.receipt = receipt
        anyio.run(at_once.live, raw, jobs, meta, rounds)
        with one_by_one():
            anyio.run(by_one.live, raw, jobs, meta, rounds)
        assert at_once.said == by_one.said
        assert at_once.keys(raw) == by_one.keys(raw)
        for world in (at_once, by_one):
            for key in raw.scan_iter(match=f"{world.prefix}:*", count=1000):
                raw.delete(key)


def test_batches_are_what_is_measured() -> None:
    """The comparison above compares two ways: the first one does run our scripts."""
    ran: list[str] = []

    class Counting(Store):
        async def run_all(self, calls: Any) -> Any:
            ran.extend(script.name for script, _, _ in calls)
            return await super().run_all(calls)

    async def work() -> None:
        world = World()
        store = world.backend._store
        world.backend._store = Counting(store.client, store.prefix, store.clock, store.handle)
        with redis.Redis.from_url(server_url()) as raw:
            await world.live(raw, [(NewJob("a"), None, {}) for _ in range(5)], {}, [(10, ["completed"] * 5, 0)])

    anyio.run(work)
    assert ran == ["claim", "finish"]
