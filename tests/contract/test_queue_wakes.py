"""How hosts and people hear of what happens: wakes and events, from this handle and from others."""

from __future__ import annotations

import anyio
import pytest
from jobhost.queues.job import Event, NewJob
from jobhost.queues.seam import Backend

from .backends import (
    LEASE_MS,
    PATIENCE,
    TurnedClock,
    Wakes,
    add,
    claim,
    claim_one,
    completed,
    failed,
    lease,
    listening,
    returned,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("here", [True, False])
async def test_an_added_job_wakes(backend: Backend, other: Backend, wakes: Wakes, here: bool) -> None:
    """C3: a host is woken by any process on the store."""
    await add(backend if here else other, "a")
    assert await wakes.wait() == "default"


async def test_a_delayed_job_wakes_since_it_is_due_first_now(other: Backend, wakes: Wakes) -> None:
    await other.add([NewJob("a", delay_ms=1_000)])
    assert await wakes.wait() == "default"


@pytest.mark.parametrize("delay_ms", [0, 100])
async def test_a_returned_job_wakes(backend: Backend, other: Backend, wakes: Wakes, delay_ms: int) -> None:
    await add(other, "a")
    await wakes.wait()
    await other.settle([returned(await claim_one(other), delay_ms)])
    assert await wakes.wait() == "default"


async def test_promote_resume_retry_and_recover_wake(
    backend: Backend, other: Backend, wakes: Wakes, clock: TurnedClock
) -> None:
    await other.add([NewJob("a", delay_ms=1_000)])
    await wakes.wait()
    await other.promote("default", "1")
    await wakes.wait()
    await other.resume("default")
    await wakes.wait()
    await claim_one(other)
    clock.advance(LEASE_MS)
    await other.recover("default", 1)
    await wakes.wait()
    await other.settle([failed(await claim_one(other))])
    await other.retry("default", "1")
    await wakes.wait()


async def test_a_dead_letter_wakes_its_queue(backend: Backend, other: Backend) -> None:
    woken = Wakes()
    stop = backend.watch(["dead"], woken)
    await add(other, "a")
    await other.settle([failed(await claim_one(other), dead_letter="dead")])
    assert await woken.wait() == "dead"
    stop()


async def test_a_watch_hears_of_its_queues_until_it_is_ended(backend: Backend, wakes: Wakes) -> None:
    both = Wakes()
    stop = backend.watch(["x", "y"], both)
    await add(backend, "a", queue="y")
    await add(backend, "a", queue="z")
    await add(backend, "a")
    assert await both.wait() == "y"
    stop()
    stop()
    wakes.queues.clear()
    both.queues.clear()
    await add(backend, "a", queue="x")
    await add(backend, "a")
    await wakes.wait()
    assert both.queues == []


# Events ---------------------------------------------------------------------------------------------------------


@pytest.mark.not_bullmq
@pytest.mark.parametrize("here", [True, False])
async def test_a_jobs_life_in_events(backend: Backend, other: Backend, clock: TurnedClock, here: bool) -> None:
    """F4: completed, progress, failed, waiting, stalled; from this process and others."""
    actor = backend if here else other
    async with listening(backend.events("default")) as heard:
        await actor.add([NewJob("a"), NewJob("b", queue="elsewhere")])
        first = await claim_one(actor)
        await actor.progress([(lease(first), b'{"page":1}')])
        await actor.settle([returned(first, 10, error=b'{"type":"E"}')])
        clock.advance(10)
        await claim_one(actor)
        clock.advance(LEASE_MS)
        await actor.recover("default", 5)
        third = await claim_one(actor)
        await actor.settle([completed(third, b'{"ok":true}')])
        await heard.until("drained")
    job = [(event.type, event.attempt, event.data) for event in heard.events if event.job_id == "1"]
    assert job == [
        ("waiting", 0, None),
        ("active", 1, None),
        ("progress", 1, b'{"page":1}'),
        ("delayed", 1, b'{"error":{"type":"E"}}'),
        ("waiting", 0, None),
        ("active", 2, None),
        ("stalled", 2, None),
        ("waiting", 0, None),
        ("active", 2, None),
        ("completed", 2, b'{"ok":true}'),
    ]
    assert {(event.queue, event.name) for event in heard.events} == {("default", "a"), ("default", None)}
    assert heard.events[-2].ts == clock.now


async def test_the_end_of_a_failed_job_in_events(backend: Backend, other: Backend) -> None:
    async with listening(backend.events()) as heard:
        await add(other, "a")
        await other.settle([failed(await claim_one(other), b'{"type":"E"}')])
        [event] = await heard.until("failed")
        assert (event.job_id, event.name, event.attempt, event.data) == ("1", "a", 1, b'{"error":{"type":"E"}}')
        await other.remove("default", "1")
        await heard.until("removed")


async def test_a_null_result_is_told_from_none(backend: Backend, other: Backend) -> None:
    async with listening(backend.events()) as heard:
        await add(other, "a")
        await other.settle([completed(await claim_one(other), b"null")])
        [event] = await heard.until("completed")
    assert event.data == b"null"


async def test_a_queues_own_events(backend: Backend, other: Backend) -> None:
    async with listening(backend.events("default")) as heard:
        await other.pause("default")
        await other.pause("elsewhere")
        await other.resume("default")
        await add(other, "a")
        await other.drain("default")
        await heard.until("drained")
    assert heard.types == ["paused", "resumed", "waiting", "drained"]
    assert [event.job_id for event in heard.events] == [None, None, "1", None]


async def test_a_host_hears_that_its_job_is_to_be_cancelled(backend: Backend, other: Backend) -> None:
    """C6: cancel reaches the host at once, and nothing else does if it asks for nothing else."""
    async with listening(backend.events(types=("cancel",))) as heard:
        await add(other, "a", "b")
        await claim(other, 1)
        await other.cancel("default", "2")
        await other.cancel("default", "1")
        [event] = await heard.until("cancel")
    assert (event.queue, event.job_id, event.name, event.attempt) == ("default", "1", "a", 1)
    assert heard.types == ["cancel"]


async def test_only_the_types_that_were_asked_for(backend: Backend, other: Backend) -> None:
    async with listening(backend.events(types=("completed", "failed"))) as heard:
        await add(other, "a", "b")
        a, b = await claim(other, 2)
        await other.settle([completed(a), failed(b)])
        await heard.until("failed")
    assert heard.types == ["completed", "failed"]


async def test_subscribers_do_not_take_events_from_each_other(backend: Backend) -> None:
    async with listening(backend.events()) as one, listening(backend.events()) as two:
        await add(backend, "a")
        await one.until("waiting")
        await two.until("waiting")
    async with listening(backend.events()) as three:
        await add(backend, "b")
        assert [event.name for event in await three.until("waiting")] == ["b"]


async def test_a_result_of_any_size_does_not_hold_up_events(backend: Backend, other: Backend) -> None:
    """The data of an event may be left out; what is so is in `get`."""
    async with listening(backend.events()) as heard:
        await add(other, "a", "b")
        a, b = await claim(other, 2)
        await other.settle([completed(a, b'"' + b"x" * 1_000_000 + b'"'), completed(b, b"2")])
        events = await heard.until("completed", 2)
    assert [(event.job_id, event.attempt) for event in events] == [("1", 1), ("2", 1)]
    assert events[1].data == b"2"


async def test_many_events_come_in_order(backend: Backend) -> None:
    async with listening(backend.events()) as heard:
        await backend.add([NewJob(str(n)) for n in range(3_000)])
        events = await heard.until("waiting", 3_000)
    assert [event.name for event in events] == [str(n) for n in range(3_000)]


async def test_closing_ends_the_events(backend: Backend) -> None:
    ended: list[Event] = []

    async def read() -> None:
        ended.extend([event async for event in backend.events()])

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await add(backend, "a")
            await backend.close()
    assert [event.type for event in ended] == ["waiting"]


async def test_close_is_safe_twice(backend: Backend) -> None:
    await backend.close()
    await backend.close()
