"""Leases: who holds a job, who may take it over, and that nobody else can write for it."""

from __future__ import annotations

import json

import anyio
import pytest
from jobhost.errors import LeaseLostError
from jobhost.queues.job import Keep, Lease, LogLine
from jobhost.queues.seam import Backend

from .backends import (
    LEASE_MS,
    TurnedClock,
    add,
    claim,
    claim_one,
    completed,
    failed,
    ids,
    job_of,
    lease,
    returned,
)

pytestmark = pytest.mark.anyio

LINE = LogLine(1, "info", "hello", None, 1, "handler")


async def test_a_job_stays_with_its_host_as_long_as_the_lease_is_renewed(
    backend: Backend, other: Backend, clock: TurnedClock
) -> None:
    """Section 5 of the contract: a lease that the host renews."""
    await add(backend, "a")
    claimed = await claim_one(backend)
    for _ in range(4):
        clock.advance(LEASE_MS - 1)
        assert await backend.renew([lease(claimed)], LEASE_MS) == ["ok"]
        assert (await other.recover("default", 1)).waiting == []
    assert await backend.settle([completed(claimed)]) == [True]


async def test_a_job_whose_host_is_gone_goes_to_another(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    await add(backend, "a")
    first = await claim_one(backend)
    clock.advance(LEASE_MS)
    recovered = await other.recover("default", 1)
    assert (recovered.waiting, recovered.failed) == (["1"], [])
    [second] = await claim(other, host="host-2")
    assert (second.job.stalled, second.job.attempts_made, second.job.host) == (1, 0, "host-2")
    assert await backend.renew([lease(first)], LEASE_MS) == ["lost"]
    assert await backend.settle([completed(first)]) == [False]
    assert await other.settle([completed(second)]) == [True]


async def test_a_recovered_job_takes_its_old_place(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a", "b")
    await claim_one(backend)
    clock.advance(LEASE_MS)
    await backend.recover("default", 1)
    assert [one.job.name for one in await claim(backend, 9)] == ["a", "b"]


async def test_a_lease_that_ran_out_is_good_until_somebody_takes_the_job(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a", "b")
    a, b = await claim(backend, 2)
    clock.advance(2 * LEASE_MS)
    assert await backend.renew([lease(a)], LEASE_MS) == ["ok"]
    assert await backend.settle([completed(b)]) == [True]
    assert (await backend.recover("default", 1)).waiting == []


async def test_a_job_that_stalls_too_often_fails(backend: Backend, clock: TurnedClock) -> None:
    """B3: stalled count; section 5: above max_stalled, failed with StalledError."""
    await add(backend, "a")
    for stalled in (1, 2):
        await claim_one(backend)
        clock.advance(LEASE_MS)
        recovered = await backend.recover("default", 1)
        assert (recovered.waiting, recovered.failed) == ((["1"], []) if stalled == 1 else ([], ["1"]))
    job = await job_of(backend, "1")
    error = json.loads(job.error or b"{}")
    assert (job.state, job.stalled, job.attempts_made, job.finished_at) == ("failed", 2, 0, clock.now)
    assert (error["type"], error["origin"]) == ("StalledError", "host")
    assert set(error) == {"type", "message", "stack", "origin", "fields", "cause", "data"}


async def test_a_stalled_job_that_fails_is_kept_and_copied_as_any_other(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a", "b")
    await claim(backend, 2)
    clock.advance(LEASE_MS)
    recovered = await backend.recover("default", 0, Keep(count=1), "default.dead")
    assert sorted(recovered.failed) == ["1", "2"]
    assert len(await ids(backend, "default")) == 1
    assert len(await ids(backend, "default.dead")) == 2


async def test_recovery_looks_at_one_queue(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a", queue="x")
    await claim_one(backend, "x")
    clock.advance(LEASE_MS)
    assert (await backend.recover("default", 1)).waiting == []
    assert (await backend.recover("x", 1)).waiting == ["1"]


async def test_a_job_to_be_cancelled_is_not_run_again(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a")
    await claim_one(backend)
    await backend.cancel("default", "1")
    clock.advance(LEASE_MS)
    assert (await backend.recover("default", 1)).failed == ["1"]
    assert json.loads((await job_of(backend, "1")).error or b"{}")["type"] == "CancelledError"


async def test_renewal_says_that_a_job_is_to_be_cancelled(backend: Backend, other: Backend) -> None:
    """C6: cancel."""
    await add(backend, "a", "b")
    a, b = await claim(backend, 2)
    assert await other.cancel("default", "1") == "requested"
    assert await backend.renew([lease(a), lease(b)], LEASE_MS) == ["cancel", "ok"]


async def test_renewals_tell_each_lease_apart(backend: Backend) -> None:
    await add(backend, "a", "b")
    a, b = await claim(backend, 2)
    await backend.settle([completed(a)])
    odd = [Lease("default", "1", ""), Lease("none", "1", "x"), Lease("default", "9", "zz.1")]
    assert await backend.renew([lease(a), lease(b), *odd], LEASE_MS) == ["lost", "ok", "lost", "lost", "lost"]


# A lost lease writes nothing ------------------------------------------------------------------------------------


async def test_a_lost_lease_finishes_nothing(backend: Backend, clock: TurnedClock) -> None:
    """Section 5: a run that lost its lease cannot complete the job, write state or emit."""
    await add(backend, "a")
    lost = await claim_one(backend)
    clock.advance(LEASE_MS)
    await backend.recover("default", 1)
    for settlement in (completed(lost), failed(lost, dead_letter="dead"), returned(lost), returned(lost, 50)):
        assert await backend.settle([settlement]) == [False]
    job = await job_of(backend, "1")
    assert (job.state, job.attempts_made, job.result, job.error) == ("waiting", 0, None, None)
    assert await ids(backend, "dead") == []


async def test_a_lost_lease_writes_no_state(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a")
    lost = await claim_one(backend)
    await backend.state_set("s", "k", b"1", lease=lease(lost))
    clock.advance(LEASE_MS)
    await backend.recover("default", 1)
    held = await claim_one(backend)
    with pytest.raises(LeaseLostError):
        await backend.state_set("s", "k", b"2", lease=lease(lost))
    with pytest.raises(LeaseLostError):
        await backend.state_delete("s", "k", lease=lease(lost))
    with pytest.raises(LeaseLostError):
        await backend.state_incr("s", "k", lease=lease(lost))
    assert await backend.state_incr("s", "k", lease=lease(held)) == 2


async def test_a_lost_lease_spoils_nothing_for_others(backend: Backend) -> None:
    """Operations that were made durable together stay apart: one that is refused takes no other with it."""
    await add(backend, "a")
    held = await claim_one(backend)
    lost = Lease("default", "1", "gone")
    refused = []

    async def refuse(n: int) -> None:
        try:
            await backend.state_set("s", f"lost-{n}", b"1", lease=lost)
        except LeaseLostError:
            refused.append(n)

    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(refuse, n)
            tasks.start_soon(backend.state_set, "s", f"held-{n}", b"1", None, lease(held))
    assert len(refused) == 10
    assert (await backend.state_keys("s"))[0] == [f"held-{n}" for n in range(10)]


async def test_progress_is_the_holders(backend: Backend) -> None:
    """D5: progress: a number or an object; the latest counts."""
    await add(backend, "a")
    held = await claim_one(backend)
    await backend.progress([(lease(held), b"50"), (lease(held), b'{"page":3}'), (Lease("default", "1", "x"), b"99")])
    assert (await job_of(backend, "1")).progress == b'{"page":3}'


async def test_logs_of_a_lost_lease_are_kept(backend: Backend) -> None:
    """They say what happened."""
    await add(backend, "a")
    lost = await claim_one(backend)
    await backend.settle([returned(lost)])
    await backend.log([(lease(lost), LINE)])
    assert await backend.logs("default", "1") == [(1, LINE)]


async def test_the_data_of_a_running_job_can_be_replaced(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """For later attempts too; not by a run that lost its lease."""
    await add(other, "a")
    first = await claim_one(backend)
    await backend.update_data(lease(first), b'{"step":2}')
    job = await other.get("default", "1")
    assert job is not None
    assert job.data == b'{"step":2}'
    clock.advance(LEASE_MS)
    await other.recover("default", 5)
    second = await claim_one(other)
    assert second.job.data == b'{"step":2}'
    with pytest.raises(LeaseLostError):
        await backend.update_data(lease(first), b"3")
    job = await other.get("default", "1")
    assert job is not None
    assert job.data == b'{"step":2}'


async def test_a_job_without_children_has_none(backend: Backend) -> None:
    """F5: an empty object, in every store."""
    await add(backend, "a")
    assert await backend.children("default", "1") == b"{}"
    assert await backend.children("default", "nobody") == b"{}"


async def test_a_run_whose_job_waits_again_writes_nothing(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """Its lease ran out and the job went back, though nobody has started it anew yet: it is this run's no more."""
    await add(other, "a")
    claimed = lease(await claim_one(backend))
    clock.advance(LEASE_MS)
    assert (await other.recover("default", 5)).waiting == ["1"]
    with pytest.raises(LeaseLostError):
        await backend.state_set("global", "k", b"1", None, claimed)
    with pytest.raises(LeaseLostError):
        await backend.state_incr("global", "k", 1, claimed)
    with pytest.raises(LeaseLostError):
        await backend.update_data(claimed, b"2")
    await backend.progress([(claimed, b"50")])
    job = await other.get("default", "1")
    assert job is not None
    assert (job.state, job.data, job.progress) == ("waiting", b"null", None)
    assert await other.state_get("global", "k") is None
