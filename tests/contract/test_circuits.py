"""Circuit breakers through whole hosts, on every store: opened by failures, shared, half open, closed; jobs wait and lose nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from jobhost import Client
from jobhost.breakers import SCOPE, state_text
from jobhost.queues.clock import unix_ms
from jobhost.queues.seam import Backend
from jobhost_sdk import InvalidJobDataError, RetryLater

from .functions import Recorder, echo, serving, until
from .hosting import Hosted, make_backend, result_of
from .receiver import Receiver

pytestmark = pytest.mark.anyio
QUICK = {"failures": 3, "within": "1h", "open_for": "100ms"}
ONCE = {"default": {"attempts": 1}}


class Downstream:
    """A handler of something that may be down. Counts its runs, and how many were inside at once."""

    def __init__(self) -> None:
        self.down = True
        self.calls = 0
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, job: Any, ctx: Any) -> Any:
        with self._lock:
            self.calls += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            if self.down:
                raise ConnectionError("refused")
            return job.data
        finally:
            with self._lock:
                self.inside -= 1


async def opened(host: Hosted, log: Recorder, name: str = "pay") -> None:
    for _ in range(3):
        assert (await host.run(name)).state == "failed"
    await until(lambda: bool(log.of("breaker.opened")))


async def test_a_breaker_opens_and_jobs_wait_without_using_attempts(store: Backend) -> None:
    """G5: circuit breaker per handler; others of the queue go on; once it is up again everything is done."""
    log, pay = Recorder(), Downstream()
    functions = {"pay": (pay, {"breaker": {**QUICK, "open_for": "1h"}}), "echo": echo}
    async with serving(store, functions, queues=ONCE, log=log) as host:
        await opened(host, log)
        assert pay.calls == 3
        waiting = [await host.add("pay", n) for n in range(5)]
        assert result_of(await host.run("echo", 1)) == 1
        for id in waiting:
            job = await host.job(id)
            assert job.state in ("waiting", "delayed", "active")  # on Redis a claim takes it, and lets it come back
            assert job.attempts_made == 0
        assert pay.calls == 3
        async with Client(backend=store) as client:
            [told] = await client.breakers.list()
            assert (told["name"], told["status"], told["handlers"]) == ("pay", "open", ["pay"])
            assert "3 runs failed one after the other; the last: ConnectionError: refused" in told["reason"]
            pay.down = False
            assert await client.breakers.close("pay")
            assert not await client.breakers.close("pay")
        for n, id in enumerate(waiting):
            assert result_of(await host.done(id)) == n


async def test_half_open_one_run_is_tried(store: Backend) -> None:
    """G5: half-open probes: one run at a time, and each failed one lets it stay open for twice as long."""
    log, pay = Recorder(), Downstream()
    functions = {"pay": (pay, {"breaker": {**QUICK, "open_for": "50ms"}})}
    async with serving(store, functions, queues=ONCE, log=log) as host:
        await opened(host, log)
        ids = [await host.add("pay", n) for n in range(6)]
        await until(lambda: len(log.of("breaker.opened")) == 4)
        assert [said["for_ms"] for said in log.of("breaker.opened")] == [50, 100, 200, 400]
        assert pay.calls == 6
        assert pay.most == 1
        pay.down = False
        done = [await host.done(id) for id in ids]
        assert sorted(job.state for job in done) == ["completed"] * 3 + ["failed"] * 3
        assert len(log.of("breaker.closed")) == 1
        # What it counted before is forgotten: one failure does not open it again.
        pay.down = True
        await host.run("pay")
        pay.down = False
        assert result_of(await host.run("pay", 7)) == 7


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_hosts_share_a_breaker(kind: str, tmp_path: Path) -> None:
    """G5: shared by all hosts of a store: one opens it, the other stops too, and only one of them tries the run."""
    first_log, other_log, pay, there = Recorder(), Recorder(), Downstream(), Downstream()
    breaker = {**QUICK, "open_for": "300ms"}
    first = serving(make_backend(kind, tmp_path), {"pay": (pay, {"breaker": breaker})}, queues=ONCE, log=first_log)
    other = serving(make_backend(kind, tmp_path), {"pay": (there, {"breaker": breaker})}, queues=ONCE, log=other_log)
    async with first as host:
        await opened(host, first_log)
        async with other as second:
            circuits = second.host.breakers
            await until(lambda: circuits.room("pay") == 0)
            ids = [await host.add("pay", n) for n in range(4)]
            pay.down = there.down = False
            for n, id in enumerate(ids):
                assert result_of(await host.done(id)) == n
            await until(lambda: circuits.room("pay") is None and host.host.breakers.room("pay") is None)
            assert len(first_log.of("breaker.closed")) + len(other_log.of("breaker.closed")) == 1
            assert len(other_log.of("breaker.opened")) == 0


async def test_handlers_share_a_named_breaker(store: Backend) -> None:
    """G5: per named downstream."""
    log, pay = Recorder(), Downstream()
    functions = {"pay": (pay, {"breaker": "stripe"}), "refund": (pay, {"breaker": "stripe"})}
    stripe = {**QUICK, "open_for": "1h"}
    async with serving(store, functions, queues=ONCE, breakers={"stripe": stripe}, log=log) as host:
        for name in ("pay", "refund", "pay"):
            await host.run(name)
        await until(lambda: bool(log.of("breaker.opened")))
        assert host.host.breakers.room("refund") == 0


async def test_only_failures_of_the_downstream_count(store: Backend) -> None:
    """G5: a share of what runs, by class of error; refused data and `RetryLater` say nothing of it."""
    log = Recorder()

    def mixed(job: Any, ctx: Any) -> Any:
        match job.data:
            case "bad":
                raise InvalidJobDataError("no amount")
            case "later":
                raise RetryLater("1h")
            case "down":
                raise ConnectionError("refused")
            case "key":
                raise KeyError("x")

    breaker = {"failures": 3, "share": 0.4, "within": "1h", "open_for": "1h", "errors": ["OSError"]}
    async with serving(store, {"mixed": (mixed, {"breaker": breaker})}, queues=ONCE, log=log) as host:
        for data in ("bad", "key", "bad", "key"):
            await host.run("mixed", data)
        for data in ("ok", "ok", "down") * 3:
            await host.run("mixed", data)
        later = await host.add("mixed", "later")
        await host.until(later, lambda job: job.state == "delayed")
        assert not log.of("breaker.opened")
        await host.run("mixed", "down")
        await until(lambda: bool(log.of("breaker.opened")))
        assert "4 of 10 runs failed" in log.of("breaker.opened")[0]["reason"]


async def test_a_breaker_that_opens_is_an_alert(store: Backend) -> None:
    """G3, G5: alert hooks on an open breaker."""
    log, pay = Recorder(), Downstream()
    with Receiver().serving() as receiver:
        alert = {"webhook": receiver.url, "on": ["breaker_open"]}
        functions = {"pay": (pay, {"breaker": {**QUICK, "open_for": "1h"}})}
        async with serving(store, functions, queues=ONCE, alerts=[alert], log=log) as host:
            await opened(host, log)
            [body] = await receiver.until(1)
            assert (body["type"], body["breaker"]["name"]) == ("breaker_open", "pay")


async def test_a_breaker_opened_by_hand_stops_what_waits(store: Backend) -> None:
    """G5: steered by people."""
    pay = Downstream()
    pay.down = False
    async with serving(store, {"pay": (pay, {"breaker": QUICK})}) as host, Client(backend=store) as client:
        await client.breakers.open("pay", "1h")
        await until(lambda: host.host.breakers.room("pay") == 0)
        id = await host.add("pay", 1)
        assert (await host.job(id)).attempts_made == 0
        await client.breakers.close("pay")
        assert result_of(await host.done(id)) == 1


async def test_a_host_that_tried_and_died_leaves_the_trying_to_others(
    store: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, pay = Recorder(), Downstream()
    functions = {"pay": (pay, {"breaker": QUICK})}
    async with serving(store, functions, queues=ONCE, log=log) as host:
        await opened(host, log)
        circuit = host.host.breakers._of["pay"]
        gone = state_text("half_open", unix_ms() + 100, 0, "", "a host that died")
        await store.state_set(SCOPE, "pay", gone)
        pay.down = False
        assert result_of(await host.run("pay", 1)) == 1
        await until(lambda: circuit.stored is None)


@pytest.mark.parametrize("garbage", [b"5", b'"open"', b'{"status":"open"}', b'{"status":"ajar","until":1}', b"null"])
async def test_garbage_in_the_place_of_a_breaker_is_a_closed_one(store: Backend, garbage: bytes) -> None:
    pay = Downstream()
    pay.down = False
    async with serving(store, {"pay": (pay, {"breaker": QUICK})}) as host, Client(backend=store) as client:
        await store.state_set(SCOPE, "pay", garbage)
        await until(lambda: host.host.breakers._of["pay"].stored == garbage)
        assert result_of(await host.run("pay", 1)) == 1
        assert [told["status"] for told in await client.breakers.list()] == ["closed"]


def test_a_breaker_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    from jobhost.catalogue import entries_of
    from jobhost.config.document import Config
    from jobhost.registered import place
    from jobhost_runtimes.bundle import Contents, HandlerInfo

    spec, bundle = place()
    info = HandlerInfo("pay", "pay.py", 3, "sync", {"breaker": "strip"})
    config = Config.model_validate({"breakers": {"stripe": {}}})
    entries, [problem] = entries_of(Contents([info], []), spec, bundle, config, None)
    assert not entries
    assert "strip" in problem.error
    assert "stripe" in problem.error
