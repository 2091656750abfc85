"""Producing: what is stored, under which id, and in which order it will run."""

from __future__ import annotations

import json

import pytest
from jobhost.queues.job import NewJob
from jobhost.queues.seam import Backend

from .backends import TurnedClock, add, claim, complete, ids, job_of

pytestmark = pytest.mark.anyio


async def test_a_queue_is_there_with_its_first_job(backend: Backend) -> None:
    """C9: queues on demand: nobody has to create one."""
    assert await backend.queues() == []
    await add(backend, "a", queue="never heard of")
    assert [(queue.name, queue.counts["waiting"]) for queue in await backend.queues()] == [("never heard of", 1)]
    assert len(await claim(backend, queue="never heard of")) == 1


async def test_an_added_job_waits_with_all_its_options(backend: Backend, clock: TurnedClock) -> None:
    """C4: priority, retries, timeout, delay, metadata."""
    new = NewJob(
        name="image.resize",
        data=b'{"width": 9007199254740993, "s": "\xc3\xa9"}',
        queue="images",
        attempts=5,
        backoff=b'{"type":"fixed","delay":100}',
        timeout_ms=2_000,
        metadata=b'{"user":"u1"}',
        flow_id="f1",
        flow_name="orders",
    )
    [added] = await backend.add([new])
    assert (added.id, added.created, added.created_at) == ("1", True, clock.now)
    job = await job_of(backend, "1", "images")
    assert (job.name, job.data, job.queue, job.state) == (new.name, new.data, "images", "waiting")
    assert (job.max_attempts, job.timeout_ms, job.metadata) == (5, 2_000, new.metadata)
    assert json.loads(job.backoff or b"") == json.loads(new.backoff or b""), "a server's JSON may order members anew"
    assert (job.flow_id, job.flow_name, job.created_at) == ("f1", "orders", clock.now)
    assert (job.attempts_made, job.result, job.error, job.progress, job.cancel_requested) == (
        0,
        None,
        None,
        None,
        False,
    )


async def test_options_that_were_not_given_stay_open(backend: Backend) -> None:
    """B3: what the producer leaves open, the host's settings decide."""
    [id] = await add(backend, "a")
    job = await job_of(backend, id)
    assert (job.max_attempts, job.backoff, job.timeout_ms, job.priority) == (None, None, None, 0)


async def test_ids_are_numbers_of_their_queue(backend: Backend) -> None:
    assert await add(backend, "a", "b") == ["1", "2"]
    assert await add(backend, "a", queue="images") == ["1"]
    assert await add(backend, "c") == ["3"]


async def test_ids_are_not_used_again_after_their_job_is_gone(backend: Backend) -> None:
    await add(backend, "a", "b")
    await backend.remove("default", "2")
    assert await add(backend, "c") == ["3"]


@pytest.mark.parametrize("size", [0, 2_048, 2_049, 300_000])
async def test_data_of_any_size_comes_back_as_it_was(backend: Backend, size: int) -> None:
    data = b'"' + b"x" * size + b'"'
    [added] = await backend.add([NewJob("a", data)])
    assert (await job_of(backend, added.id)).data == data
    assert [job.data for job in (await backend.jobs())[0]] == [data]
    [claimed] = await claim(backend)
    assert claimed.job.data == data


async def test_a_bulk_is_stored_in_order(backend: Backend) -> None:
    """C4: bulk."""
    added = await backend.add([NewJob(str(n)) for n in range(1_500)])
    assert [one.id for one in added] == [str(n + 1) for n in range(1_500)]
    assert [claimed.job.name for claimed in await claim(backend, 1_500)] == [str(n) for n in range(1_500)]


async def test_a_bulk_may_go_to_several_queues(backend: Backend) -> None:
    await backend.add([NewJob("a", queue="x"), NewJob("b", queue="y"), NewJob("c", queue="x")])
    assert [(info.name, info.counts["waiting"]) for info in await backend.queues()] == [("x", 2), ("y", 1)]


async def test_a_second_add_of_an_id_is_the_same_job(backend: Backend, other: Backend, clock: TurnedClock) -> None:
    """G6: an id of the producer's own makes adding idempotent."""
    [first] = await backend.add([NewJob("a", b"1", id="order-7")])
    clock.advance(5)
    [second] = await other.add([NewJob("b", b"2", id="order-7")])
    assert (second.id, second.created, second.created_at) == ("order-7", False, first.created_at)
    job = await job_of(backend, "order-7")
    assert (job.name, job.data) == ("a", b"1")
    assert (await backend.counts("default"))["waiting"] == 1


@pytest.mark.not_bullmq
async def test_an_id_twice_in_one_bulk_is_one_job(backend: Backend) -> None:
    """C4: custom ids, within one bulk too."""
    added = await backend.add([NewJob("a", id="x"), NewJob("b", id="x"), NewJob("c")])
    assert [(one.id, one.created) for one in added] == [("x", True), ("x", False), ("1", True)]
    assert [claimed.job.name for claimed in await claim(backend, 9)] == ["a", "c"]


async def test_an_id_is_unique_in_its_queue_only(backend: Backend) -> None:
    added = await backend.add([NewJob("a", id="x", queue="one"), NewJob("b", id="x", queue="two")])
    assert [one.created for one in added] == [True, True]
    assert (await job_of(backend, "x", "two")).name == "b"


async def test_a_finished_job_still_holds_its_id(backend: Backend) -> None:
    await backend.add([NewJob("a", id="x")])
    await complete(backend)
    [again] = await backend.add([NewJob("a", id="x")])
    assert not again.created
    await backend.remove("default", "x")
    [again] = await backend.add([NewJob("a", id="x")])
    assert again.created


@pytest.mark.not_bullmq
async def test_numbers_pass_over_ids_that_producers_took(backend: Backend) -> None:
    await backend.add([NewJob("a", id="1"), NewJob("b", id="2"), NewJob("c", id="4")])
    assert await add(backend, "d", "e") == ["3", "5"]


async def test_lower_priorities_run_first_and_none_before_all(backend: Backend) -> None:
    """C4: BullMQ's rule: none or 0 first, then 1, 2, …"""
    await backend.add([NewJob(f"p{priority}", priority=priority) for priority in (3, 1, 0, 2_097_152, 1)])
    assert (await backend.counts("default"))["prioritized"] == 4
    assert (await job_of(backend, "1")).state == "prioritized"
    claimed = await claim(backend, 9)
    assert [one.job.name for one in claimed] == ["p0", "p1", "p1", "p3", "p2097152"]
    assert [one.job.id for one in claimed][1:3] == ["2", "5"]


@pytest.mark.not_bullmq
async def test_lifo_goes_in_front_of_its_priority(backend: Backend) -> None:
    await backend.add([NewJob("a"), NewJob("b", lifo=True), NewJob("c", lifo=True), NewJob("d", priority=1)])
    await backend.add([NewJob("e", priority=1, lifo=True)])
    assert [one.job.name for one in await claim(backend, 9)] == ["c", "b", "a", "e", "d"]


async def test_a_delayed_job_waits_for_its_time(backend: Backend, clock: TurnedClock) -> None:
    """C4: delay."""
    await backend.add([NewJob("later", delay_ms=1_000), NewJob("now")])
    job = await job_of(backend, "1")
    assert (job.state, job.delay_until) == ("delayed", clock.now + 1_000)
    assert [one.job.name for one in await claim(backend, 9)] == ["now"]
    clock.advance(999)
    assert await claim(backend, 9) == []
    clock.advance(1)
    [claimed] = await claim(backend, 9)
    assert (claimed.job.name, claimed.job.delay_until) == ("later", None)


@pytest.mark.not_bullmq
async def test_a_delayed_job_that_is_due_stands_where_its_age_puts_it(backend: Backend, clock: TurnedClock) -> None:
    await backend.add([NewJob("delayed", delay_ms=50), NewJob("urgent", delay_ms=60, lifo=True)])
    await add(backend, "young")
    clock.advance(60)
    assert [one.job.name for one in await claim(backend, 9)] == ["urgent", "delayed", "young"]


async def test_order_is_that_of_adding_over_handles(backend: Backend, other: Backend) -> None:
    for n in range(20):
        await add(backend if n % 2 else other, str(n))
    assert [one.job.name for one in await claim(other, 99)] == [str(n) for n in range(20)]
    assert await ids(backend) == [str(n) for n in range(20, 0, -1)]
