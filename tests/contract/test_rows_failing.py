"""The table of design section 5, through a whole host: the rows about jobs that fail for good or come back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from jobhost.dispatch.outcomes import MOST_POSTPONES
from jobhost.queues.admission import Admission
from jobhost.queues.job import Job, NewJob
from jobhost.queues.seam import Backend
from jobhost_sdk import InvalidJobDataError, RetryLater, UnrecoverableError

from .functions import Gate, delayed_for, echo, fail, serving, until
from .hosting import Hosted, bundle, error_of, hosted, result_of

pytestmark = pytest.mark.anyio
QUICK = {"type": "fixed", "delay": "1ms", "jitter": 0.0}


def now() -> int:
    return int(time.time() * 1000)


async def dead_letters(backend: Backend, queue: str) -> list[Job]:
    jobs, _ = await backend.jobs(queue)
    return jobs


def hopeless(job: Any, ctx: Any) -> None:
    raise UnrecoverableError("there is no card")


async def test_a_job_that_failed_for_good_is_copied_to_the_dead_letters(store: Backend) -> None:
    """Row: handler raises, after the last attempt: failed, and copied to `dead_letter` with what became of it."""
    queues = {"default": {"dead_letter": "default.dead", "backoff": QUICK}}
    async with serving(store, {"fail": fail, "hopeless": hopeless, "echo": echo}, queues=queues) as host:
        data = {"order": [1, "ä"]}
        failed = await host.run("fail", data, attempts=2, metadata=b'{"team": "a"}')
        assert (failed.state, failed.attempts_made, error_of(failed)["type"]) == ("failed", 2, "ValueError")
        [copy] = await dead_letters(store, "default.dead")
        assert (copy.name, json.loads(copy.data), copy.state, copy.attempts_made) == ("fail", data, "waiting", 0)
        told = json.loads(copy.metadata or b"null")
        assert (told["team"], told["dead"]["queue"], told["dead"]["id"]) == ("a", "default", failed.id)
        assert (told["dead"]["error"], told["dead"]["failed_at"]) == (error_of(failed), failed.finished_at)
        assert told["dead"]["attempts_made"] == 2
        await host.run("hopeless", attempts=5)
        assert [job.name for job in await dead_letters(store, "default.dead")] == ["hopeless", "fail"]
        assert "default.dead" not in host.host.workers
        assert result_of(await host.run("echo", 1)) == 1
        assert {job.state for job in await dead_letters(store, "default.dead")} == {"waiting"}


async def test_what_never_ran_well_enough_is_copied_too(store: Backend) -> None:
    """Rows: no such handler, and a host that died too often: failed, so the dead letters have them; completed ones they lack."""
    queues = {"default": {"dead_letter": "dead", "max_stalled": 0, "stalled_interval": "20ms", "paused": True}}
    async with serving(store, {"echo": echo}, queues=queues) as host:
        stalled = await host.add("echo")
        await store.claim("default", 1, Admission(), 1, "a host that dies")
        job = await host.done(stalled)
        assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 0, "StalledError")
        assert error_of(job)["message"] == "its host stopped renewing its lease once: it died, hung or lost the queue"
        host.host.resume()
        unknown = await host.run("ehco")
        assert error_of(unknown)["type"] == "UnknownJobTypeError"
        assert result_of(await host.run("echo", 1)) == 1
        assert sorted(job.name for job in await dead_letters(store, "dead")) == ["echo", "ehco"]


async def test_a_job_of_a_host_that_died_is_done_by_another(store: Backend) -> None:
    """Row: host dies: the lease expires and another host takes it; no attempt is used."""
    queues = {"default": {"stalled_interval": "20ms", "paused": True}}
    async with serving(store, {"echo": echo}, queues=queues) as host:
        id = await host.add("echo", 7)
        await store.claim("default", 1, Admission(), 1, "a host that dies")
        waiting = await host.until(id, lambda job: job.state == "waiting")
        assert (waiting.attempts_made, waiting.stalled) == (0, 1)
        host.host.resume()
        job = await host.done(id)
        assert (result_of(job), job.attempts_made, job.host) == (7, 1, host.host.id)


async def test_a_job_that_is_cancelled_while_it_waits(store: Backend) -> None:
    """Row: cancelled by the user, before it runs, and between two attempts: failed with CancelledError, no attempt used."""
    hour = {"default": {"backoff": {"type": "fixed", "delay": "1h", "jitter": 0.0}}}
    async with serving(store, {"fail": fail}, queues=hour) as host:
        host.host.pause()
        waiting = await host.add("fail")
        assert await store.cancel("default", waiting) == "cancelled"
        job = await host.done(waiting)
        assert (job.state, job.attempts_made) == ("failed", 0)
        assert (error_of(job)["type"], error_of(job)["message"]) == ("CancelledError", "the job was cancelled")
        host.host.resume()
        between = await host.add("fail", attempts=3)
        await host.until(between, lambda job: job.state == "delayed")
        assert await store.cancel("default", between) == "cancelled"
        job = await host.done(between)
        assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 1, "CancelledError")


async def test_coming_back_too_soon_uses_an_attempt(store: Backend) -> None:
    """Row: RetryLater takes at least 100 ms: less is a failed attempt, which says so."""

    def hasty(job: Any, ctx: Any) -> None:
        raise RetryLater("99ms")

    async with serving(store, {"hasty": hasty}, queues={"default": {"backoff": QUICK}}) as host:
        job = await host.run("hasty", attempts=2)
        assert (job.state, job.attempts_made, job.postponed) == ("failed", 2, 0)
        assert (error_of(job)["type"], error_of(job)["origin"]) == ("RetryLater", "handler")
        assert error_of(job)["message"] == "RetryLater takes at least 100 ms; the handler asked for 99 ms"


async def test_coming_back_for_ever_uses_an_attempt(store: Backend) -> None:
    """Row: RetryLater at most 100 times: the next one is a failed attempt. Each time it is delayed by what was asked for."""

    def never_now(job: Any, ctx: Any) -> None:
        raise RetryLater("1h")

    async with serving(store, {"never_now": never_now}) as host:
        before = now()
        id = await host.add("never_now", attempts=1)
        for times in range(1, MOST_POSTPONES + 1):
            job = await host.until(id, lambda job, times=times: job.state == "delayed" and job.postponed == times)  # type: ignore[misc]
            assert job.attempts_made == 0
            if times == 1:
                assert 3_600_000 <= delayed_for(job, before) <= 3_600_000 + now() - before
            assert await store.promote("default", id)
        job = await host.done(id)
        assert (job.state, job.attempts_made, job.postponed) == ("failed", 1, 100)
        assert error_of(job)["message"] == "the handler asked to come back later 100 times already"


async def test_a_handler_that_finds_its_data_wrong_fails_now(store: Backend) -> None:
    """G4. Row: `InvalidJobDataError` raised by the handler itself: failed at once, with the fields."""

    def picky(job: Any, ctx: Any) -> None:
        raise InvalidJobDataError("no amount", [{"field": "amount", "message": "is missing"}])

    async with serving(store, {"picky": picky}) as host:
        job = await host.run("picky", attempts=5)
        error = error_of(job)
        assert (job.state, job.attempts_made, error["type"]) == ("failed", 1, "InvalidJobDataError")
        assert error["fields"] == [{"field": "amount", "message": "is missing"}]


async def test_a_child_that_kills_too_many_ends_its_jobs(store: Backend) -> None:
    """Row: several runs in a child that died, no known cause, for the `max_child_deaths`th time: all failed, no attempt used."""
    table = bundle("node", pool={"children": 1, "concurrency": 4})
    queues = {"default": {"max_child_deaths": 1, "dead_letter": "dead"}}
    async with hosted(store, table, queues=queues) as host:
        innocent = await host.add("wait")
        await host.logged(innocent, "waiting")
        killer = await host.add("die", "SIGKILL")
        for job in (await host.done(innocent), await host.done(killer)):
            assert (job.state, job.attempts_made, job.child_deaths) == ("failed", 0, 1)
            assert error_of(job)["type"] == "ChildDied"
            assert "died with this job inside; the child was killed by SIGKILL" in error_of(job)["message"]
        assert len(await dead_letters(store, "dead")) == 2


async def test_a_timeout_is_retried_as_a_failure_is(store: Backend) -> None:
    """G2. Row: timeout, as raises: retried after the backoff, the error kept meanwhile, failed after the last attempt."""

    def patient(job: Any, ctx: Any) -> None:
        while not ctx.cancelled:
            time.sleep(0.001)

    hour = {"default": {"backoff": {"type": "fixed", "delay": "1h", "jitter": 0.0}}}
    async with serving(store, {"patient": patient}, queues=hour) as host:
        id = await host.add("patient", timeout_ms=30, attempts=2)
        job = await host.until(id, lambda job: job.state == "delayed")
        assert (job.attempts_made, error_of(job)["type"], error_of(job)["origin"]) == (1, "TimeoutError", "host")
        await store.promote("default", id)
        job = await host.done(id)
        assert (job.state, job.attempts_made, error_of(job)["type"]) == ("failed", 2, "TimeoutError")


async def test_a_second_stop_hands_back_at_once(store: Backend) -> None:
    """L1. Row: host stops: the first stop waits for runs, the second one does not; back to waiting, no attempt used."""
    gate = Gate()
    async with serving(store, {"gate": gate}, shutdown_timeout="1h") as host:
        settled: list[Any] = []
        tell, host.host.settled = host.host.settled, lambda *given: (settled.append(given), tell(*given))  # type: ignore[method-assign, assignment, func-returns-value]
        await store.add([NewJob("gate", b"1", "default")])
        await until(lambda: len(gate.entered) == 1)
        host.host.request_stop()
        await until(lambda: host.host._stopping is not None)
        assert not host.host._stopped.is_set()
        await host.host.stop(now=True)
        [(_, _, decided, held)] = settled
        assert (decided.to, decided.attempt_used, held) == ("waiting", False, True)


async def _retries(host: Hosted, id: str, attempts: int) -> list[tuple[int, int]]:
    """Let a failing job through its attempts; gives bounds of each wait, in ms: it was not less, and not more, than these."""
    waits = []
    for made in range(1, attempts):
        before = now()
        if made > 1:
            await host.backend.promote("default", id)
        job = await host.until(id, lambda job, made=made: job.state == "delayed" and job.attempts_made == made)  # type: ignore[misc]
        assert error_of(job)["message"] == f"no luck on attempt {made}"
        waits.append((delayed_for(job, now()), delayed_for(job, before)))
    await host.backend.promote("default", id)
    return waits


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
async def test_waits_between_attempts_double_and_jitter_shortens_them(store: Backend, jitter: float) -> None:
    """G1. Row: handler raises, retried after its backoff: exponential, jitter takes away at most its share."""
    hour = 3_600_000
    queues = {"default": {"attempts": 4, "backoff": {"type": "exponential", "delay": "1h", "jitter": jitter}}}
    async with serving(store, {"fail": fail}, queues=queues) as host:
        id = await host.add("fail")
        for made, (least, most) in enumerate(await _retries(host, id, 4), 1):
            full = hour * 2 ** (made - 1)
            assert least <= full, "longer than its backoff"
            assert most >= full * (1 - jitter), "shorter than jitter allows"
        job = await host.done(id)
        assert (job.state, job.attempts_made) == ("failed", 4)


async def test_a_fixed_backoff_stays_the_same(store: Backend) -> None:
    """G1: fixed backoff, given by the job alone, as BullMQ's producers write it (a number of ms) too."""
    async with serving(store, {"fail": fail}) as host:
        for backoff in (
            b'{"type": "fixed", "delay": 3600000, "jitter": 0}',
            b'{"type":"fixed","delay":3600000,"jitter":0.0}',
        ):
            id = await host.add("fail", attempts=3, backoff=backoff)
            for least, most in await _retries(host, id, 3):
                assert least <= 3_600_000 <= most
            await host.done(id)


async def test_a_strategy_of_ones_own_says_how_long(store: Backend) -> None:
    """G1: own strategies get attempts, error and job; one that fails or is unknown is replaced by the built-in one."""
    asked: list[tuple[int, str, str]] = []

    def mine(made: int, error: dict[str, Any], job: Job) -> int:
        asked.append((made, error["type"], job.name))
        return made * 7_200_000

    def broken(made: int, error: dict[str, Any], job: Job) -> int:
        raise LookupError("no table")

    def prepare(host: Any) -> None:
        host.backoff_strategy("mine", mine)
        host.backoff_strategy("broken", broken)

    queues = {"default": {"attempts": 3, "backoff": {"type": "mine", "delay": "1h", "jitter": 0.0}}}
    async with serving(store, {"fail": fail}, queues=queues, prepare=prepare) as host:
        id = await host.add("fail")
        for made, (least, most) in enumerate(await _retries(host, id, 3), 1):
            assert least <= made * 7_200_000 <= most
        await host.done(id)
        assert asked == [(1, "ValueError", "fail"), (2, "ValueError", "fail")]
        for name in ("broken", "unheard-of"):
            id = await host.add("fail", attempts=2, backoff=json.dumps({"type": name}).encode())
            [(least, most)] = await _retries(host, id, 2)
            assert least <= 3_600_000 <= most
            await host.done(id)
