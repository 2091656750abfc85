"""How claims end: results, failures, returns, what is counted, what is kept."""

from __future__ import annotations

import json

import pytest
from jobhost.queues.job import Keep, Lease, NewJob, Settlement, job_scope
from jobhost.queues.seam import Backend

from .backends import (
    TurnedClock,
    add,
    claim,
    claim_one,
    complete,
    completed,
    failed,
    ids,
    job_of,
    lease,
    returned,
)

pytestmark = pytest.mark.anyio


async def test_a_completed_job_keeps_its_result(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """C8: the result can be asked for."""
    await add(backend, "a")
    claimed = await claim_one(backend)
    clock.advance(7)
    assert await backend.settle([completed(claimed, b'{"ok":true}')]) == [True]
    job = await job_of(other, "1")
    assert (job.state, job.result, job.error, job.attempts_made) == ("completed", b'{"ok":true}', None, 1)
    assert (job.finished_at, job.host) == (clock.now, "host-1")


@pytest.mark.parametrize("result", [b"null", b"0", b'""', b"false", b"[]"])
async def test_a_falsy_result_is_a_result(backend: Backend, result: bytes) -> None:
    await add(backend, "a")
    await backend.settle([completed(await claim_one(backend), result)])
    assert (await job_of(backend, "1")).result == result


async def test_a_failed_job_keeps_its_error(backend: Backend, clock: TurnedClock) -> None:
    """C6: failed jobs."""
    await add(backend, "a")
    claimed = await claim_one(backend)
    assert await backend.settle([failed(claimed, b'{"type":"E"}', receipt=b'{"cpu":1}')]) == [True]
    job = await job_of(backend, "1")
    assert (job.state, job.error, job.result, job.receipt) == ("failed", b'{"type":"E"}', None, b'{"cpu":1}')
    assert (job.attempts_made, job.finished_at) == (1, clock.now)


async def test_a_retry_comes_back_after_its_delay_with_its_error(backend: Backend, clock: TurnedClock) -> None:
    """G1: retries; completion clears the error."""
    await add(backend, "a")
    await backend.settle([returned(await claim_one(backend), 1_000, error=b'{"type":"E"}')])
    job = await job_of(backend, "1")
    assert (job.state, job.error, job.attempts_made, job.finished_at) == ("delayed", b'{"type":"E"}', 1, None)
    assert job.delay_until == clock.now + 1_000
    clock.advance(1_000)
    claimed = await claim_one(backend)
    assert (claimed.job.attempts_made, claimed.job.error) == (1, b'{"type":"E"}')
    await backend.settle([completed(claimed)])
    job = await job_of(backend, "1")
    assert (job.state, job.error, job.attempts_made) == ("completed", None, 2)


async def test_a_returned_job_takes_its_old_place(backend: Backend) -> None:
    await add(backend, *"abc")
    first, second = await claim(backend, 2)
    await backend.settle([returned(second, attempt_used=False)])
    await add(backend, "d")
    await backend.settle([returned(first, attempt_used=False)])
    claimed = await claim(backend, 9)
    assert [one.job.name for one in claimed] == ["a", "b", "c", "d"]
    assert [one.job.attempts_made for one in claimed] == [0, 0, 0, 0]


@pytest.mark.not_bullmq
async def test_a_returned_job_keeps_its_priority(backend: Backend) -> None:
    await backend.add([NewJob("a", priority=2), NewJob("b", priority=2)])
    await backend.settle([returned(await claim_one(backend))])
    assert (await backend.counts("default"))["prioritized"] == 2
    assert [one.job.name for one in await claim(backend, 9)] == ["a", "b"]


async def test_what_a_settlement_says_is_counted(backend: Backend) -> None:
    await add(backend, "a")
    for settlement in (
        {"attempt_used": False, "child_death": True},
        {"attempt_used": False, "postponed": True},
        {"attempt_used": False, "released": True},
        {"attempt_used": True},
    ):
        await backend.settle([returned(await claim_one(backend), **settlement)])
    job = await job_of(backend, "1")
    assert (job.attempts_made, job.child_deaths, job.postponed, job.released, job.suspect) == (1, 1, 1, 1, True)


async def test_a_batch_ends_each_claim_its_own_way(backend: Backend) -> None:
    await add(backend, *"abcd")
    a, b, c, d = await claim(backend, 4)
    lost = Settlement(Lease("default", d.job.id, "no such token"), "completed", result=b"1")
    assert await backend.settle([completed(a), failed(b), lost, returned(c)]) == [True, True, False, True]
    states = [(await job_of(backend, id)).state for id in "1234"]
    assert states == ["completed", "failed", "waiting", "active"]


async def test_a_claim_ends_once(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    assert await backend.settle([completed(claimed, b"1"), completed(claimed, b"2")]) == [True, False]
    assert await backend.settle([failed(claimed)]) == [False]
    assert (await job_of(backend, "1")).result == b"1"


async def test_a_later_claim_of_the_same_job_has_another_token(backend: Backend) -> None:
    await add(backend, "a")
    first = await claim_one(backend)
    await backend.settle([returned(first)])
    second = await claim_one(backend)
    assert await backend.settle([completed(first, b"1")]) == [False]
    assert await backend.settle([completed(second, b"2")]) == [True]


# Keep -----------------------------------------------------------------------------------------------------------


async def test_finished_jobs_are_kept_by_count_for_each_state(backend: Backend) -> None:
    """C7, B3: keep by count."""
    await add(backend, *"abcdef")
    claims = await claim(backend, 6)
    for one in claims[:4]:
        await backend.settle([completed(one, keep=Keep(count=2))])
    await backend.settle([failed(one, keep=Keep(count=1)) for one in claims[4:]])
    assert await ids(backend) == ["6", "4", "3"]
    counts = await backend.counts("default")
    assert (counts["completed"], counts["failed"]) == (2, 1)


async def test_the_oldest_to_finish_goes_first(backend: Backend, clock: TurnedClock) -> None:
    """C7: a job that ran long is not the oldest for that."""
    await add(backend, "slow", "quick")
    slow, quick = await claim(backend, 2)
    await backend.settle([completed(quick, keep=Keep(count=1))])
    clock.advance(1)
    await backend.settle([completed(slow, keep=Keep(count=1))])
    assert await ids(backend) == ["1"]


async def test_keeping_none_leaves_nothing(backend: Backend) -> None:
    await add(backend, "a")
    await backend.settle([completed(await claim_one(backend), keep=Keep(count=0))])
    assert await backend.get("default", "1") is None
    assert (await backend.counts("default"))["completed"] == 0


async def test_finished_jobs_are_kept_by_age(backend: Backend, clock: TurnedClock) -> None:
    """C7, B3: keep by age."""
    keep = Keep(age_ms=1_000)
    for _ in range(4):
        await add(backend, "a")
        await backend.settle([completed(await claim_one(backend), keep=keep)])
        clock.advance(600)
    assert await ids(backend) == ["4", "3"]


async def test_count_and_age_both_bound_what_is_kept(backend: Backend, clock: TurnedClock) -> None:
    keep = Keep(count=3, age_ms=1_000)
    for wait in (0, 600, 600, 0, 0, 0):
        clock.advance(wait)
        await add(backend, "a")
        await backend.settle([completed(await claim_one(backend), keep=keep)])
    assert await ids(backend) == ["6", "5", "4"]


async def test_a_pruned_job_takes_its_logs_and_state_along(backend: Backend) -> None:
    [added] = await backend.add([NewJob("a", id="x")])
    scope = job_scope("default", "x", added.created_at)
    claimed = await claim_one(backend)
    await backend.state_set(scope, "k", b"1", lease=lease(claimed))
    await backend.settle([completed(claimed, keep=Keep(count=0))])
    assert await backend.state_get(scope, "k") is None
    assert await backend.logs("default", "x") == []


async def test_a_job_that_goes_on_keeps_its_state(backend: Backend) -> None:
    """Section 6 of the contract: a retried run can go on where the last stopped."""
    [added] = await backend.add([NewJob("a")])
    scope = job_scope("default", "1", added.created_at)
    claimed = await claim_one(backend)
    await backend.state_set(scope, "k", b"1", lease=lease(claimed))
    await backend.settle([returned(claimed)])
    await complete(backend)
    assert await backend.state_get(scope, "k") == b"1"


# Dead letters ---------------------------------------------------------------------------------------------------


async def test_only_a_settlement_that_holds_leaves_a_dead_letter(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    again = failed(claimed, dead_letter="default.dead")
    assert await backend.settle([again, again]) == [True, False]
    assert len(await ids(backend, "default.dead")) == 1


# Cancellation of what was to come back --------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [0, 500])
async def test_a_job_to_be_cancelled_does_not_come_back(backend: Backend, delay_ms: int) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    await backend.cancel("default", "1")
    assert await backend.settle([returned(claimed, delay_ms)]) == [True]
    job = await job_of(backend, "1")
    assert (job.state, json.loads(job.error or b"{}")["type"]) == ("failed", "CancelledError")
    assert not job.cancel_requested


async def test_a_job_to_be_cancelled_may_still_complete(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    await backend.cancel("default", "1")
    await backend.settle([completed(claimed, b"1")])
    job = await job_of(backend, "1")
    assert (job.state, job.result, job.cancel_requested) == ("completed", b"1", False)
