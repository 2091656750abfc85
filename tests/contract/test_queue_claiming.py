"""Claiming: which jobs a host gets, in which order, and what it is told about the rest."""

from __future__ import annotations

import pytest
from jobhost.queues.admission import Admission
from jobhost.queues.job import NewJob, Rate
from jobhost.queues.seam import Backend

from .backends import LEASE_MS, TurnedClock, add, claim, claim_one, completed, job_of, lease, returned

pytestmark = pytest.mark.anyio


async def test_a_claimed_job_is_active_at_its_host(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a")
    clock.advance(5)
    [claimed] = await claim(backend, host="host-9")
    assert (claimed.job.state, claimed.job.host, claimed.job.started_at) == ("active", "host-9", clock.now)
    assert claimed.job == await job_of(backend, "1")
    assert (await backend.counts("default"))["active"] == 1


async def test_each_job_goes_to_one_claim(backend: Backend, other: Backend) -> None:
    """C3: several hosts on one store."""
    await add(backend, *"abcde")
    first, second, third = await claim(backend, 2), await claim(other, 2), await claim(backend, 9)
    assert [[one.job.name for one in claims] for claims in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert len({one.token for one in (*first, *second, *third)}) == 5
    assert await claim(other, 9) == []


async def test_nothing_comes_from_a_queue_that_does_not_exist(backend: Backend) -> None:
    claimed = await backend.claim("none", 5, Admission(), LEASE_MS, "h")
    assert (claimed.claims, claimed.next_due, claimed.more) == ([], None, False)


async def test_what_a_claim_gave_does_not_change_under_its_holder(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    await backend.settle([completed(claimed, b"1")])
    assert (claimed.job.state, claimed.job.result) == ("active", None)


async def test_a_rate_limit_holds_for_all_hosts(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """H2: so many begin in each window, which opens with the first of them; `next_due` says when the next may open."""
    rate = Rate(2, 1_000)
    await add(backend, *"abcde")

    async def names(handle: Backend) -> tuple[list[str], int | None]:
        claimed = await handle.claim("default", 5, Admission(), LEASE_MS, "h", rate)
        due = claimed.next_due
        return [one.job.name for one in claimed.claims], None if due is None else due - clock.now

    taken, _ = await names(backend)
    assert taken == ["a", "b"]
    clock.advance(400)
    nothing, until = await names(other)
    assert nothing == []
    assert until is not None
    assert 500 < until <= 600, "Redis counts by its own clock"
    clock.advance(600)
    assert (await names(other))[0] == ["c", "d"]
    assert (await names(backend))[0] == []
    clock.advance(1_000)
    assert (await names(backend))[0] == ["e"]


async def test_more_says_whether_jobs_are_left(backend: Backend) -> None:
    await add(backend, *"abc")
    assert (await backend.claim("default", 2, Admission(), LEASE_MS, "h")).more
    assert not (await backend.claim("default", 2, Admission(), LEASE_MS, "h")).more


async def test_next_due_is_the_time_of_the_next_delayed_job(backend: Backend, clock: TurnedClock) -> None:
    due = clock.now + 300
    await backend.add([NewJob("b", delay_ms=500), NewJob("a", delay_ms=300)])
    assert (await backend.claim("default", 2, Admission(), LEASE_MS, "h")).next_due == due
    clock.advance(300)
    claimed = await backend.claim("default", 2, Admission(), LEASE_MS, "h")
    assert ([one.job.name for one in claimed.claims], claimed.next_due) == (["a"], due + 200)
    clock.advance(200)
    assert (await backend.claim("default", 2, Admission(), LEASE_MS, "h")).next_due is None


async def test_next_due_forgets_a_delayed_job_that_is_gone(backend: Backend) -> None:
    await backend.add([NewJob("a", delay_ms=300)])
    await backend.remove("default", "1")
    assert (await backend.claim("default", 1, Admission(), LEASE_MS, "h")).next_due is None


# Admission ------------------------------------------------------------------------------------------------------


@pytest.mark.not_bullmq
async def test_a_name_at_its_limit_is_passed_over_in_place(backend: Backend) -> None:
    """H1: a handler at its limit does not hold up the others."""
    await add(backend, "full", "full", "free", "full", "free")
    admission = Admission([(["full"], 1)])
    assert [one.job.id for one in await claim(backend, 9, admission=admission)] == ["1", "3", "5"]
    assert [(await job_of(backend, id)).state for id in ("2", "4")] == ["waiting", "waiting"]
    assert [one.job.id for one in await claim(backend, 9)] == ["2", "4"]


@pytest.mark.not_bullmq
async def test_passed_over_jobs_keep_their_place_before_younger_ones(backend: Backend) -> None:
    await add(backend, "full", "free", "full")
    await claim(backend, 9, admission=Admission([(["full"], 0)]))
    await add(backend, "free", "full")
    assert [one.job.id for one in await claim(backend, 9)] == ["1", "3", "4", "5"]


async def test_names_may_share_places(backend: Backend) -> None:
    """H1: a handler's own limit and its pool's."""
    await add(backend, "a", "b", "a", "b", "c")
    admission = Admission([(["a", "b"], 2), (["b"], 1), (["c"], 5)])
    assert [one.job.id for one in await claim(backend, 9, admission=admission)] == ["1", "2", "5"]


async def test_unknown_names_have_places_of_their_own(backend: Backend) -> None:
    await add(backend, "x", "a", "y", "z")
    claimed = await claim(backend, 9, admission=Admission([(["a"], 5)], others=2))
    assert [one.job.name for one in claimed] == ["x", "a", "y"]


@pytest.mark.not_bullmq
async def test_one_admission_serves_one_claim(backend: Backend) -> None:
    await add(backend, *["a"] * 4)
    for expected in (["1", "2"], ["3", "4"]):
        assert [one.job.id for one in await claim(backend, 9, admission=Admission([(["a"], 2)]))] == expected


@pytest.mark.not_bullmq
async def test_a_long_line_of_full_handlers_hides_nobody(backend: Backend) -> None:
    """H1: also behind more jobs than a claim looks at."""
    await backend.add([NewJob(f"full-{n % 3}") for n in range(1_000)])
    await backend.add([NewJob("free-b"), NewJob("free-a"), NewJob("free-b", priority=1), NewJob("free-a", lifo=True)])
    full = [([f"full-{n}"], 0) for n in range(3)]
    claimed = await claim(backend, 3, admission=Admission(full))
    assert [one.job.id for one in claimed] == ["1004", "1001", "1002"]
    claimed = await claim(backend, 9, admission=Admission([*full, (["full-1"], 1)]))
    assert [one.job.name for one in claimed] == ["free-b"]
    claimed = await claim(backend, 2, admission=Admission([(["full-0", "full-1"], 0), (["full-2"], 9)]))
    assert [one.job.id for one in claimed] == ["3", "6"]


@pytest.mark.not_bullmq
async def test_jobs_returned_while_their_name_is_full_keep_their_place(backend: Backend) -> None:
    await add(backend, "a", "a", "a")
    [first] = await claim(backend, admission=Admission([(["a"], 1)]))
    await claim(backend, 9, admission=Admission([(["a"], 0)]))
    await backend.settle([returned(first)])
    assert [one.job.id for one in await claim(backend, 2, admission=Admission([(["a"], 2)]))] == ["1", "2"]


# Pause ----------------------------------------------------------------------------------------------------------


@pytest.mark.not_bullmq
async def test_a_paused_queue_gives_nothing_until_it_is_resumed(
    backend: Backend, other: Backend, clock: TurnedClock
) -> None:
    """L2, and the trap: nothing is dropped while paused; retries and delayed jobs wait as well."""
    await add(backend, "retried", "fresh")
    retried = await claim_one(backend)
    await backend.add([NewJob("delayed", delay_ms=10)])
    await other.pause("default")
    await backend.settle([returned(retried, delay_ms=10)])
    clock.advance(10)
    claimed = await backend.claim("default", 9, Admission(), LEASE_MS, "h")
    assert (claimed.claims, claimed.next_due, claimed.more) == ([], None, False)
    await add(backend, "late")
    assert await claim(other, 9) == []
    await backend.resume("default")
    assert [one.job.name for one in await claim(other, 9)] == ["retried", "fresh", "delayed", "late"]


async def test_a_pause_leaves_running_jobs_alone(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    await backend.pause("default")
    assert await backend.renew([lease(claimed)], LEASE_MS) == ["ok"]
    assert await backend.settle([completed(claimed)]) == [True]
