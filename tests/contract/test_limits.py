"""Limits over all hosts, through whole hosts and their configuration; lives of keyed queues as chance has it, on every store."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.config.document import Config
from jobhost.config.problems import InvalidConfigurationError
from jobhost.errors import ConfigurationError
from jobhost.queues.admission import Admission
from jobhost.queues.job import Claim, NewJob, PublishedHandler
from jobhost.queues.limits import Limits, NameLimit
from jobhost.queues.redis import RedisBackend
from jobhost.queues.seam import Backend

from tests.redis_server import fresh_prefix, server_url

from .backends import LEASE_MS, TurnedClock, completed, opened, returned
from .bullmq_peer import bullmq
from .functions import echo, serving, until
from .hosting import PATIENCE, Hosted, make_backend

pytestmark = pytest.mark.anyio
ALONE = {"default": {"exclusive": True, "concurrency": 20}}


class Tenants:
    """A handler that notes who runs, and how many of each at once. Its runs wait for the gate."""

    def __init__(self, held: bool = False) -> None:
        self.seen: list[str] = []
        self.most: Counter[str] = Counter()
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.gate = threading.Event()
        if not held:
            self.gate.set()

    def __call__(self, job: Any, ctx: Any) -> str:
        tenant = str(job.data["tenant"])
        with self._lock:
            self.seen.append(tenant)
            self._inside[tenant] += 1
            self._inside["all"] += 1
            for name in (tenant, "all"):
                self.most[name] = max(self.most[name], self._inside[name])
        self.gate.wait(PATIENCE)
        with self._lock:
            self._inside[tenant] -= 1
            self._inside["all"] -= 1
        return tenant


def on(store: Backend) -> dict[str, Any]:
    """What a host has to know of its store."""
    return {"queue_url": "redis://127.0.0.1:1"} if isinstance(store, RedisBackend) else {}


async def fill(host: Hosted, tenant: str, count: int) -> list[str]:
    return [await host.add("pay", {"tenant": tenant}) for _ in range(count)]


async def test_a_noisy_tenant_does_not_hold_up_a_quiet_one(store: Backend) -> None:
    """H2: fairness between keys, and a limit by key."""
    pay = Tenants()
    settings = {"key": "data.tenant", "per_key": {"concurrency": 1}}
    async with serving(store, {"pay": (pay, settings)}, queues=ALONE, **on(store)) as host:
        host.host.pause()
        noisy = await fill(host, "noisy", 200)
        quiet = await fill(host, "quiet", 3)
        host.host.resume()
        for id in quiet:
            await host.done(id)
        assert pay.seen.index("quiet") < 4
        assert pay.seen.count("noisy") < 100
        for id in noisy[-1:]:
            await host.done(id)
        assert pay.most["noisy"] == 1
        assert pay.most["quiet"] == 1


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_hosts_keep_limits_together(kind: str, tmp_path: Path) -> None:
    """H1: concurrency of a handler across hosts."""
    pay, also = Tenants(held=True), Tenants(held=True)
    settings = {"global_concurrency": 3}
    first, second = make_backend(kind, tmp_path), make_backend(kind, tmp_path)
    more = on(first)
    async with (
        serving(first, {"pay": (pay, settings)}, queues=ALONE, **more) as host,
        serving(second, {"pay": (also, settings)}, queues=ALONE, **more),
    ):
        ids = await fill(host, "a", 12)
        await until(lambda: len(pay.seen) + len(also.seen) == 3)
        assert (await first.counts("default"))["active"] == 3
        pay.gate.set()
        also.gate.set()
        for id in ids:
            await host.done(id)
        assert pay.most["all"] + also.most["all"] <= 6
        assert len(pay.seen) + len(also.seen) == 12


async def test_a_queue_has_only_so_many_running_on_all_hosts(store: Backend) -> None:
    """H1: concurrency of a queue, across hosts."""
    pay = Tenants(held=True)
    queues = {"default": {**ALONE["default"], "global_concurrency": 2}}
    async with serving(store, {"pay": pay}, queues=queues, **on(store)) as host:
        ids = await fill(host, "a", 6)
        await until(lambda: len(pay.seen) == 2)
        assert (await store.counts("default"))["active"] == 2
        pay.gate.set()
        for id in ids:
            await host.done(id)
        assert pay.most["all"] <= 2


async def test_a_handler_begins_only_so_many(store: Backend) -> None:
    """H2: a rate limit of a handler."""
    pay = Tenants()
    settings = {"rate_limit": {"max": 2, "every": "1h"}}
    async with serving(store, {"pay": (pay, settings), "echo": echo}, queues=ALONE, **on(store)) as host:
        await fill(host, "a", 5)
        for n in range(3):
            await host.run("echo", n)
        await until(lambda: len(pay.seen) == 2)
        assert (await store.counts("default"))["waiting"] == 3


async def test_on_redis_limits_need_a_queue_of_their_own() -> None:
    """H2: keyed limits on Redis: not served without `exclusive`; hosts of jobhost may be many."""
    prefix = fresh_prefix()
    functions = {"pay": (echo, {"key": "data.tenant"})}
    async with serving(RedisBackend(server_url(), prefix), functions, queue_url=server_url()) as host:
        [problem] = host.host.catalogue.problems
        assert "exclusive = true in [queues.default]" in problem.error
        assert "pay" not in host.host.catalogue.names()
    first, second = (
        serving(RedisBackend(server_url(), prefix), functions, queues=ALONE, queue_url=server_url()) for _ in range(2)
    )
    async with first as host, second:
        assert (await host.run("pay", {"tenant": "a"})).state == "completed"


async def test_a_host_does_not_start_beside_foreign_workers() -> None:
    """H2: a worker of BullMQ would keep no limit."""
    prefix = fresh_prefix()
    with bullmq(prefix) as peer:
        await peer.do("work", queue="default")
        async with opened(RedisBackend(server_url(), prefix)) as looking:
            with anyio.fail_after(PATIENCE):
                while not await looking.foreign_workers("default"):
                    await anyio.sleep(0.01)
        with pytest.raises(ConfigurationError, match="exclusive = true, and there are other workers"):
            async with serving(
                RedisBackend(server_url(), prefix), {"echo": echo}, queues=ALONE, queue_url=server_url()
            ):
                raise AssertionError("it started")


# As chance has it -----------------------------------------------------------------------------------------------------

MOST = 2
LIMITS = Limits(names={"pay": NameLimit(keyed=True, key_concurrency=MOST), "mail": NameLimit(concurrency=3)})


class Life:
    """A queue that has everything happen to it."""

    def __init__(self, backend: Backend, clock: TurnedClock, seed: int) -> None:
        self.backend = backend
        self.clock = clock
        self.chance = random.Random(seed)
        self.held: list[Claim] = []
        self.open: set[str] = set()
        """Jobs that are to be done."""
        self.done: Counter[str] = Counter()

    async def add(self) -> None:
        new = []
        for _ in range(self.chance.randrange(1, 12)):
            data = json.dumps({"tenant": self.chance.choice("abcdefgh")}).encode()
            options: Any = self.chance.choice(
                [{}, {}, {}, {"priority": 2}, {"priority": 5}, {"lifo": True}, {"delay_ms": 30}]
            )
            new.append(NewJob(self.chance.choice(["pay", "pay", "pay", "mail", "echo"]), data, **options))
        self.open.update(added.id for added in await self.backend.add(new))

    async def take(self) -> None:
        claimed = await self.backend.claim(
            "default", self.chance.randrange(1, 10), Admission(), LEASE_MS, "host", limits=LIMITS
        )
        self.held += claimed.claims
        by_key = Counter(json.loads(one.job.data)["tenant"] for one in self.held if one.job.name == "pay")
        assert not by_key or max(by_key.values()) <= MOST
        assert sum(one.job.name == "mail" for one in self.held) <= 3

    async def end(self) -> None:
        some, self.held = self.held[:4], self.held[4:]
        for claim in some:
            if self.chance.random() < 0.6:
                assert await self.backend.settle([completed(claim)]) == [True]
                self.done[claim.job.id] += 1
            else:
                back = returned(claim, self.chance.choice([0, 0, 20]), attempt_used=self.chance.random() < 0.5)
                assert await self.backend.settle([back]) == [True]

    async def steer(self) -> None:
        waiting = sorted(self.open - set(self.done) - {claim.job.id for claim in self.held}, key=int)
        if not waiting:
            return
        id = self.chance.choice(waiting)
        match self.chance.choice(["remove", "cancel", "edit", "edit", "promote"]):
            case "remove":
                if await self.backend.remove("default", id):
                    self.open.discard(id)
            case "cancel":
                if await self.backend.cancel("default", id) == "cancelled":
                    assert await self.backend.retry("default", id)
            case "edit":
                await self.backend.edit("default", id, b'{"tenant":"z"}')
            case "promote":
                await self.backend.promote("default", id)

    async def live(self, steps: int) -> None:
        await self.backend.publish([PublishedHandler("pay", "default", b'{"key":"data.tenant"}')])
        for _ in range(steps):
            self.clock.advance(self.chance.randrange(0, 15))
            step = self.chance.choice([self.add, self.take, self.take, self.end, self.end, self.steer])
            await step()
        for _ in range(20 * len(self.open) + 50):
            self.clock.advance(40)
            await self.take()
            some, self.held = self.held, []
            for claim in some:
                assert await self.backend.settle([completed(claim)]) == [True]
                self.done[claim.job.id] += 1
            if set(self.done) == self.open:
                break
        assert set(self.done) == self.open, self.open - set(self.done)
        assert set(self.done.values()) <= {1}


@pytest.mark.parametrize("seed", range(6))
async def test_in_any_life_nobody_is_forgotten_and_no_limit_broken(
    backend: Backend, clock: TurnedClock, seed: int
) -> None:
    """H1, H2: whatever is added, taken, given back, edited, removed: all is done once, within the limits."""
    await Life(backend, clock, seed).live(80)


# Configuration --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ({"key": "tenant"}, "is no path of a key"),
        ({"key": ["data.a", "job.b"]}, "'job.b' is no path of a key"),
        ({"per_key": {"concurrency": 0}}, "should be 1 or more"),
        ({"global_concurrency": 0}, "should be 1 or more"),
        ({"rate_limit": {"max": 1}}, "every: is missing"),
    ],
)
def test_a_wrong_limit_is_said_where_it_stands(handler: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidConfigurationError) as raised:
        Config.model_validate({"handlers": {"pay": handler}})
    assert text in str(raised.value)
