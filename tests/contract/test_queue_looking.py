"""Looking: single jobs, listings and their pages, logs, counts, hosts and handlers."""

from __future__ import annotations

import pytest
from jobhost.queues.job import STATES, HostInfo, Lease, LogLine, NewJob, PublishedHandler, State
from jobhost.queues.seam import Backend

from .backends import TurnedClock, add, claim_one, complete, failed, ids, lease

pytestmark = pytest.mark.anyio


async def test_a_missing_job_is_none(backend: Backend) -> None:
    await add(backend, "a")
    assert await backend.get("default", "2") is None
    assert await backend.get("none", "1") is None


async def _one_in_each_state(backend: Backend) -> None:
    await add(backend, "completed", "failed", "active")
    await complete(backend)
    await backend.settle([failed(await claim_one(backend))])
    await claim_one(backend)
    await backend.add([NewJob("waiting"), NewJob("prioritized", priority=1), NewJob("delayed", delay_ms=9)])


async def test_counts_name_every_state(backend: Backend) -> None:
    """C2, C6: counts, status of all queues."""
    assert await backend.counts("none") == dict.fromkeys(STATES, 0)
    await _one_in_each_state(backend)
    assert await backend.counts("default") == dict.fromkeys(STATES, 1) | {"waiting-children": 0}
    [info] = await backend.queues()
    assert (info.name, info.paused, info.counts) == ("default", False, await backend.counts("default"))


async def test_queues_are_those_with_jobs_or_paused(backend: Backend) -> None:
    await add(backend, "a", queue="b")
    await add(backend, "a", queue="gone")
    await backend.pause("a")
    await backend.remove("gone", "1")
    await backend.counts("looked-at")
    assert [info.name for info in await backend.queues()] == ["a", "b"]


async def test_listings_show_the_newest_first(backend: Backend, other: Backend) -> None:
    """C2: list."""
    await backend.add([NewJob("a", queue="x"), NewJob("b", queue="y"), NewJob("c", queue="x", lifo=True)])
    assert [(job.queue, job.id) for job in (await other.jobs())[0]] == [("x", "2"), ("y", "1"), ("x", "1")]
    assert await ids(backend, "x") == ["2", "1"]
    assert await ids(backend, "none") == []


@pytest.mark.parametrize("state", [state for state in STATES if state != "waiting-children"])
async def test_a_listing_of_one_state(backend: Backend, state: State) -> None:
    """C6: failed jobs, and any others."""
    await _one_in_each_state(backend)
    for queue in ("default", None):
        jobs, cursor = await backend.jobs(queue, [state])
        assert [(job.name, job.state) for job in jobs] == [(state, state)]
        assert cursor is None


async def test_a_listing_of_several_states(backend: Backend) -> None:
    await _one_in_each_state(backend)
    assert await ids(backend, states=["failed", "delayed", "waiting"]) == ["6", "4", "2"]


async def test_a_long_page_shows_each_job_as_it_is(backend: Backend) -> None:
    """C2: the same as when it is looked up alone, in every state, of a paused queue too."""
    for _ in range(6):
        await _one_in_each_state(backend)
    await backend.pause("default")
    jobs, cursor = await backend.jobs("default", limit=100)
    assert cursor is None
    assert len(jobs) == 36
    assert jobs == [await backend.get("default", job.id) for job in jobs]
    assert {job.state for job in jobs} == set(STATES) - {"waiting-children"}


@pytest.mark.parametrize("queue", ["default", None])
@pytest.mark.parametrize("states", [(), ("waiting", "prioritized")])
async def test_pages_join_to_the_whole_even_if_jobs_come_and_go(
    backend: Backend, queue: str | None, states: tuple[State, ...]
) -> None:
    await backend.add([NewJob("a", priority=n % 3) for n in range(25)])
    pages: list[list[str]] = []
    cursor: str | None = None
    while not pages or cursor:
        jobs, cursor = await backend.jobs(queue, states, limit=10, cursor=cursor)
        pages.append([job.id for job in jobs])
        await add(backend, "late")
        await backend.remove("default", jobs[-1].id)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [id for page in pages for id in page] == [str(n) for n in range(25, 0, -1)]


async def test_a_page_that_ends_with_the_listing_has_no_cursor(backend: Backend) -> None:
    await add(backend, "a", "b")
    assert (await backend.jobs(limit=2))[1] is None
    assert (await backend.jobs(limit=1))[1] is not None


# Logs -----------------------------------------------------------------------------------------------------------


def _line(n: int) -> LogLine:
    return LogLine(1_700_000_000_000 + n, "warning", f"line {n}", b'{"n":%d}' % n, 2, "stdout")


async def test_logs_come_back_numbered_and_in_order(backend: Backend, other: Backend) -> None:
    """Section 6 of the contract: kept with the job."""
    await add(backend, "a", "b")
    a, b = lease(await claim_one(backend)), lease(await claim_one(backend))
    await backend.log([(a, _line(1)), (b, _line(7)), (a, _line(2))])
    await other.log([(a, _line(3))])
    assert await backend.logs("default", "1") == [(1, _line(1)), (2, _line(2)), (3, _line(3))]
    assert await other.logs("default", "1", after=2) == [(3, _line(3))]
    assert await backend.logs("default", "2") == [(1, _line(7))]


async def test_the_newest_thousand_lines_stay(backend: Backend) -> None:
    await add(backend, "a")
    held = lease(await claim_one(backend))
    for start in range(0, 1_200, 150):
        await backend.log([(held, _line(n)) for n in range(start, start + 150)])
    logs = await backend.logs("default", "1")
    assert [n for n, _ in logs] == list(range(201, 1_201))
    assert logs[0][1] == _line(200)


async def test_lines_of_a_missing_job_go_nowhere(backend: Backend) -> None:
    await backend.log([(Lease("default", "9", "x"), _line(1)), (Lease("none", "1", "x"), _line(1))])
    assert await backend.logs("default", "9") == []


async def test_a_line_without_fields(backend: Backend) -> None:
    await add(backend, "a")
    held = lease(await claim_one(backend))
    line = LogLine(1, "info", "späße \x00 \u2028", None, 1, "handler")
    await backend.log([(held, line)])
    assert await backend.logs("default", "1") == [(1, line)]


# Hosts and handlers ---------------------------------------------------------------------------------------------


async def test_hosts_are_listed_while_their_heart_beats(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """I2: status of every worker."""
    early = HostInfo("h1", clock.now, clock.now, b'{"queues":["a"]}')
    await backend.heartbeat(early)
    clock.advance(100_000)
    late = HostInfo("h2", clock.now, clock.now, b"{}")
    await other.heartbeat(late)
    assert await backend.hosts() == [early, late]
    clock.advance(20_001)
    assert await backend.hosts() == [late]
    again = HostInfo("h1", early.started_at, clock.now, b"{}")
    await backend.heartbeat(again)
    await backend.forget_host("h2")
    assert await other.hosts() == [again]


async def test_published_handlers_are_replaced_by_name(backend: Backend, other: Backend) -> None:
    await backend.publish([PublishedHandler("b", "q1", b"1"), PublishedHandler("a", "q2", b"2")])
    await other.publish([PublishedHandler("b", "q3", b"3")])
    assert await backend.published() == [PublishedHandler("a", "q2", b"2"), PublishedHandler("b", "q3", b"3")]
