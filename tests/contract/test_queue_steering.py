"""What people ask of queues and jobs."""

from __future__ import annotations

import json

import pytest
from jobhost.errors import JobActiveError
from jobhost.queues.admission import Admission
from jobhost.queues.job import Keep, NewJob, job_scope
from jobhost.queues.seam import Backend

from .backends import (
    LEASE_MS,
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


async def test_retry_gives_a_failed_job_all_its_attempts_again(backend: Backend, other: Backend) -> None:
    """C6: retry."""
    await backend.add([NewJob("a", attempts=2)])
    await backend.settle([returned(await claim_one(backend), child_death=True)])
    await backend.settle([failed(await claim_one(backend))])
    assert await other.retry("default", "1")
    job = await job_of(backend, "1")
    assert (job.state, job.attempts_made, job.child_deaths, job.error, job.finished_at) == ("waiting", 0, 0, None, None)
    assert job.max_attempts == 2
    await complete(backend)
    assert (await job_of(backend, "1")).attempts_made == 1


@pytest.mark.not_bullmq
async def test_retry_runs_a_completed_job_again_in_its_old_place(backend: Backend) -> None:
    await backend.add([NewJob("a", priority=1), NewJob("b", priority=1)])
    await complete(backend)
    assert await backend.retry("default", "1")
    counts = await backend.counts("default")
    assert (counts["prioritized"], counts["completed"]) == (2, 0)
    [again, _] = await claim(backend, 9)
    assert (again.job.id, again.job.result) == ("1", None)


async def test_retry_is_for_finished_jobs(backend: Backend) -> None:
    await backend.add([NewJob("a"), NewJob("b"), NewJob("c", delay_ms=9)])
    await claim_one(backend)
    assert [await backend.retry("default", id) for id in ("1", "2", "3", "9")] == [False] * 4
    assert not await backend.retry("none", "1")


async def test_cancel_fails_a_job_that_waits(backend: Backend, clock: TurnedClock) -> None:
    """C6: cancel, whatever it waits for."""
    await backend.add([NewJob("a"), NewJob("b", delay_ms=50), NewJob("c", priority=1), NewJob("d")])
    assert [await backend.cancel("default", id) for id in "123"] == ["cancelled"] * 3
    for id in "123":
        job = await job_of(backend, id)
        assert (job.state, job.finished_at, job.attempts_made) == ("failed", clock.now, 0)
        assert json.loads(job.error or b"{}")["type"] == "CancelledError"
    clock.advance(50)
    assert [one.job.name for one in await claim(backend, 9)] == ["d"]


async def test_cancel_says_what_it_found(backend: Backend, other: Backend) -> None:
    await add(backend, "a", "b")
    await complete(backend)
    active = await claim_one(backend)
    assert await other.cancel("default", "1") == "finished"
    assert await other.cancel("default", "2") == "requested"
    assert await other.cancel("default", "9") == "missing"
    assert await other.cancel("none", "1") == "missing"
    job = await job_of(backend, "2")
    assert (job.state, job.cancel_requested) == ("active", True)
    assert await backend.settle([failed(active)]) == [True]


@pytest.mark.not_bullmq
async def test_a_cancelled_job_can_be_retried(backend: Backend) -> None:
    await add(backend, "a", "b")
    await backend.cancel("default", "1")
    assert await backend.retry("default", "1")
    claimed = await claim(backend, 9)
    assert [one.job.id for one in claimed] == ["1", "2"]
    assert not claimed[0].job.cancel_requested


async def test_promote_makes_a_delayed_job_wait(backend: Backend) -> None:
    """C6: promote."""
    await backend.add([NewJob("a", delay_ms=50), NewJob("b", delay_ms=50, priority=2)])
    assert await backend.promote("default", "1")
    assert await backend.promote("default", "2")
    assert [await backend.promote("default", id) for id in ("1", "9")] == [False, False]
    assert (await job_of(backend, "1")).delay_until is None
    claimed = await backend.claim("default", 9, Admission(), LEASE_MS, "h")
    assert ([one.job.name for one in claimed.claims], claimed.next_due) == (["a", "b"], None)


async def test_remove_deletes_a_job_with_all_that_is_its_own(backend: Backend) -> None:
    """C6, C10."""
    [added] = await backend.add([NewJob("a")])
    scope = job_scope("default", "1", added.created_at)
    await backend.state_set(scope, "k", b"1")
    await backend.state_set("global", "k", b"2")
    assert await backend.remove("default", "1")
    assert not await backend.remove("default", "1")
    assert await backend.get("default", "1") is None
    assert (await backend.counts("default"))["waiting"] == 0
    assert await backend.state_scopes() == ["global"]
    assert await claim(backend) == []


async def test_a_running_job_is_not_removed(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    with pytest.raises(JobActiveError, match="cancel it first"):
        await backend.remove("default", "1")
    assert await backend.settle([completed(claimed)]) == [True]
    assert await backend.remove("default", "1")


async def test_drain_deletes_what_waits(backend: Backend) -> None:
    """C7."""
    await backend.add([NewJob("a"), NewJob("b"), NewJob("c", priority=1), NewJob("d", delay_ms=9)])
    claimed = await claim_one(backend)
    assert await backend.drain("default") == 2
    assert await ids(backend) == ["4", "1"]
    assert await backend.drain("default", delayed=True) == 1
    assert await backend.settle([completed(claimed)]) == [True]
    assert await backend.drain("default", delayed=True) == 0
    assert await ids(backend) == ["1"]
    await add(backend, "e")
    assert [one.job.name for one in await claim(backend, 9)] == ["e"]


async def test_drain_deletes_more_than_fits_one_step(backend: Backend) -> None:
    await backend.add([NewJob("a") for _ in range(2_500)])
    assert await backend.drain("default") == 2_500
    assert (await backend.counts("default"))["waiting"] == 0


async def test_clean_deletes_by_age_the_oldest_first(backend: Backend, clock: TurnedClock) -> None:
    """C7: by age and by count."""
    for _ in range(4):
        await add(backend, "a")
        await complete(backend)
        clock.advance(100)
    assert await backend.clean("default", "completed", older_than_ms=200, limit=2) == 2
    assert await ids(backend) == ["4", "3"]
    assert await backend.clean("default", "completed", older_than_ms=200) == 1
    assert await backend.clean("default", "failed") == 0
    assert await backend.clean("default", "completed") == 1
    assert await ids(backend) == []


async def test_age_counts_from_when_a_job_got_into_its_state(backend: Backend, clock: TurnedClock) -> None:
    await backend.add([NewJob("a"), NewJob("b", delay_ms=100_000)])
    clock.advance(1_000)
    await backend.settle([returned(await claim_one(backend), 50_000)])
    clock.advance(10)
    assert await backend.clean("default", "delayed", older_than_ms=500) == 1
    assert await ids(backend) == ["1"]


async def test_clean_deletes_what_waits_but_not_what_runs(backend: Backend) -> None:
    await backend.add([NewJob("a"), NewJob("b"), NewJob("c", priority=1)])
    await claim_one(backend)
    with pytest.raises(ValueError, match="active"):
        await backend.clean("default", "active")
    assert await backend.clean("default", "waiting") == 1
    assert await backend.clean("default", "prioritized") == 1
    assert await ids(backend) == ["1"]


async def test_a_queue_is_removed_with_all_that_is_its_own(backend: Backend, other: Backend) -> None:
    """C10: delete a queue."""
    added = await backend.add([NewJob("a"), NewJob("b", delay_ms=5), NewJob("c"), NewJob("d", queue="kept")])
    await complete(backend)
    await backend.state_set(job_scope("default", "1", added[0].created_at), "k", b"1")
    await backend.pause("default")
    assert await other.remove_queue("default") == 3
    assert [info.name for info in await backend.queues()] == ["kept"]
    assert await backend.state_scopes() == []
    assert await backend.remove_queue("default") == 0
    [again] = await add(backend, "e")
    [claimed] = await claim(backend, 9)
    assert (claimed.job.id, claimed.job.name) == (again, "e")


async def test_a_queue_with_running_jobs_is_not_removed(backend: Backend) -> None:
    await add(backend, "a", "b")
    await claim_one(backend)
    with pytest.raises(JobActiveError):
        await backend.remove_queue("default")
    assert [one.job.name for one in await claim(backend)] == ["b"]


async def test_a_finished_job_that_is_cleaned_is_not_counted_by_keep(backend: Backend) -> None:
    await add(backend, *"abc")
    claims = await claim(backend, 3)
    await backend.settle([completed(claims[0]), completed(claims[1])])
    await backend.clean("default", "completed")
    await backend.settle([completed(claims[2], keep=Keep(count=1))])
    assert await ids(backend) == ["3"]


async def test_pausing_is_of_one_queue(backend: Backend) -> None:
    await add(backend, "a", queue="x")
    await add(backend, "a", queue="y")
    await backend.pause("x")
    await backend.pause("x")
    assert [(info.name, info.paused) for info in await backend.queues()] == [("x", True), ("y", False)]
    assert len(await claim(backend, 9, "y")) == 1
    await backend.resume("x")
    assert [info.paused for info in await backend.queues()] == [False, False]
    assert lease((await claim(backend, 9, "x"))[0]).queue == "x"
