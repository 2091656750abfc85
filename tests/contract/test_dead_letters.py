"""Dead letters on every store: what the copy carries, and how its job comes back, once."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from jobhost.errors import JobActiveError
from jobhost.queues.dead_letters import Replayed
from jobhost.queues.flows import InFlow
from jobhost.queues.job import Job, Keep, Lease, NewJob
from jobhost.queues.seam import Backend

from .backends import TurnedClock, add, claim_one, complete, completed, failed, ids, job_of, lease, returned

pytestmark = pytest.mark.anyio
DEAD = "default.dead"


async def die(backend: Backend, new: NewJob, **options: Any) -> Job:
    """Let a job fail for good; gives its letter."""
    await backend.add([new])
    assert await backend.settle([failed(await claim_one(backend, new.queue), dead_letter=DEAD, **options)]) == [True]
    [letter], _ = await backend.jobs(DEAD, limit=1)
    return letter


def told(job: Job) -> dict[str, Any]:
    assert job.metadata is not None
    loaded: dict[str, Any] = json.loads(job.metadata)
    return loaded


async def test_a_letter_says_where_it_comes_from(backend: Backend, clock: TurnedClock) -> None:
    """G3: dead letter queue, stored."""
    new = NewJob("a", b'{"n":1}', metadata='{"user":"\u00fc"}'.encode(), priority=3, attempts=1, timeout_ms=5_000)
    letter = await die(backend, new)
    assert (letter.name, letter.data, letter.state, letter.attempts_made) == ("a", b'{"n":1}', "waiting", 0)
    dead = told(letter)["dead"]
    assert told(letter)["user"] == "ü"
    expected = {"queue": "default", "id": "1", "created_at": clock.now, "failed_at": clock.now, "attempts_made": 1}
    expected |= {"priority": 3, "attempts": 1, "timeout_ms": 5_000}
    assert expected.items() <= dead.items()
    assert dead["error"] == {"type": "ValueError", "message": "no"}


async def test_a_replay_lets_the_original_run_again_with_the_letters_data(backend: Backend, clock: TurnedClock) -> None:
    """G3: replay, with lineage; the identity of the job stays, and with it its idempotency key."""
    letter = await die(backend, NewJob("a", b"1", metadata=b'{"user":"x"}'))
    original = await job_of(backend, "1")
    assert await backend.edit(DEAD, letter.id, b'{"mended":true}')
    clock.advance(1_000)
    assert await backend.replay(DEAD, letter.id) == Replayed("replayed", "default", "1")
    assert await backend.get(DEAD, letter.id) is None
    again = await job_of(backend, "1")
    assert (again.state, again.data, again.created_at) == ("waiting", b'{"mended":true}', original.created_at)
    assert (again.attempts_made, again.error, again.stalled) == (0, None, 0)
    lineage = told(again)
    assert lineage["user"] == "x"
    assert "dead" not in lineage
    assert (lineage["replayed"]["times"], lineage["replayed"]["at"]) == (1, clock.now)
    assert lineage["replayed"]["from"] == {"queue": DEAD, "id": letter.id}
    claimed = await claim_one(backend)
    assert (claimed.job.data, claimed.job.id) == (b'{"mended":true}', "1")
    await backend.settle([failed(claimed, dead_letter=DEAD)])
    [second], _ = await backend.jobs(DEAD)
    assert told(second)["replayed"]["times"] == 1
    assert await backend.replay(DEAD, second.id) == Replayed("replayed", "default", "1")
    assert told(await job_of(backend, "1"))["replayed"]["times"] == 2


async def test_a_job_that_was_not_kept_is_added_anew_under_its_old_id_and_time(
    backend: Backend, clock: TurnedClock
) -> None:
    """G3: replay needs no original."""
    born = clock.now
    backoff = b'{"type":"fixed","delay":5}'
    new = NewJob("a", b"[1]", id="order-7", priority=2, attempts=5, timeout_ms=1_000, backoff=backoff)
    letter = await die(backend, new, keep=Keep(0))
    assert await backend.get("default", "order-7") is None
    clock.advance(60_000)
    assert await backend.replay(DEAD, letter.id) == Replayed("replayed", "default", "order-7")
    again = await job_of(backend, "order-7")
    assert (again.state, again.created_at, again.data, again.priority) == ("prioritized", born, b"[1]", 2)
    assert (again.max_attempts, again.timeout_ms) == (5, 1_000)
    assert json.loads(again.backoff or b"") == json.loads(backoff)
    assert await backend.settle([completed(await claim_one(backend))]) == [True]


async def test_an_id_that_another_job_has_by_now_is_not_taken_from_it(backend: Backend, clock: TurnedClock) -> None:
    letter = await die(backend, NewJob("a", b"1", id="seven"), keep=Keep(0))
    clock.advance(10)
    await backend.add([NewJob("b", b"2", id="seven")])
    replayed = await backend.replay(DEAD, letter.id)
    assert replayed.outcome == "replayed"
    assert replayed.id != "seven"
    assert (await job_of(backend, replayed.id)).data == b"1"
    assert (await job_of(backend, "seven")).data == b"2"


async def test_a_job_that_runs_again_already_is_not_run_twice(backend: Backend) -> None:
    letter = await die(backend, NewJob("a"))
    assert await backend.retry("default", "1")
    assert await backend.replay(DEAD, letter.id) == Replayed("alive", "default", "1")
    await complete(backend)
    assert await backend.replay(DEAD, letter.id) == Replayed("alive", "default", "1")
    assert await ids(backend, DEAD) == [letter.id]


async def test_what_is_no_letter_is_not_replayed(backend: Backend) -> None:
    [id] = await add(backend, "a")
    assert await backend.replay("default", id) == Replayed("no_letter")
    assert await backend.replay("default", "none") == Replayed("missing")
    await claim_one(backend)
    with pytest.raises(JobActiveError):
        await backend.replay("default", id)


async def test_of_two_who_replay_one_letter_one_does(backend: Backend, other: Backend) -> None:
    letter = await die(backend, NewJob("a"), keep=Keep(0))
    outcomes: list[str] = []

    async def replay(handle: Backend) -> None:
        outcomes.append((await handle.replay(DEAD, letter.id)).outcome)

    async with anyio.create_task_group() as tasks:
        for handle in (backend, other) * 3:
            tasks.start_soon(replay, handle)
    assert sorted(outcomes) == ["missing"] * 5 + ["replayed"]
    assert await ids(backend, "default") == ["1"]


async def test_a_replay_wakes_those_who_wait_for_its_queue(backend: Backend, other: Backend) -> None:
    woken = anyio.Event()
    letter = await die(other, NewJob("a"), keep=Keep(0))
    stop = backend.watch(["default"], lambda _queue: woken.set())
    await other.replay(DEAD, letter.id)
    with anyio.fail_after(10):
        await woken.wait()
    stop()


async def test_a_step_of_a_flow_is_replayed_in_its_flow(backend: Backend) -> None:
    """G3: the flow that failed with it runs again, and ends with it."""
    await backend.add([NewJob("a", b'{"flowId":"f-1","flowName":"orders"}')])
    place = InFlow("f-1", "orders", "a")
    await backend.settle([failed(await claim_one(backend), dead_letter=DEAD, flow=place)])
    flow = await backend.flow("f-1")
    assert flow is not None
    assert flow.status == "failed"
    [letter], _ = await backend.jobs(DEAD)
    assert (await backend.replay(DEAD, letter.id)).outcome == "replayed"
    flow = await backend.flow("f-1")
    assert flow is not None
    assert flow.status == "running"
    await backend.settle([completed(await claim_one(backend), flow=place)])
    flow = await backend.flow("f-1")
    assert flow is not None
    assert flow.status == "completed"


async def test_a_step_that_was_not_kept_comes_back_into_its_flow(backend: Backend) -> None:
    await backend.add([NewJob("a", b"1", flow_id="f-2", flow_name="orders")])
    claimed = await claim_one(backend)
    await backend.settle([failed(claimed, dead_letter=DEAD, flow=InFlow("f-2", "orders", "a"), keep=Keep(0))])
    [letter], _ = await backend.jobs(DEAD)
    assert (await backend.replay(DEAD, letter.id)).outcome == "replayed"
    again = await job_of(backend, "1")
    assert (again.flow_id, again.flow_name) == ("f-2", "orders")
    flow = await backend.flow("f-2")
    assert flow is not None
    assert flow.status == "running"


async def test_only_what_waits_is_edited(backend: Backend) -> None:
    await backend.add([NewJob("a"), NewJob("b", delay_ms=60_000), NewJob("c", priority=1)])
    long = json.dumps("x" * 10_000).encode()
    for id in ("1", "2", "3"):
        assert await backend.edit("default", id, long)
        assert (await job_of(backend, id)).data == long
        assert await backend.edit("default", id, b"2")
        assert (await job_of(backend, id)).data == b"2"
    claimed = await claim_one(backend)
    assert not await backend.edit("default", claimed.job.id, b"3")
    await backend.settle([completed(claimed)])
    assert not await backend.edit("default", claimed.job.id, b"3")
    assert not await backend.edit("default", "none", b"3")


async def test_a_letter_of_a_stalled_job(backend: Backend, clock: TurnedClock) -> None:
    await add(backend, "a")
    await claim_one(backend)
    clock.advance(31_000)
    found = await backend.recover("default", 0, dead_letter=DEAD)
    assert found.failed == ["1"]
    [letter], _ = await backend.jobs(DEAD)
    assert told(letter)["dead"]["error"]["type"] == "StalledError"
    assert (await backend.replay(DEAD, letter.id)).outcome == "replayed"
    assert (await job_of(backend, "1")).stalled == 0


async def test_a_cancel_leaves_no_letter(backend: Backend) -> None:
    await add(backend, "a", "b")
    await backend.cancel("default", "1")
    claimed = await claim_one(backend)
    await backend.cancel("default", claimed.job.id)
    assert await backend.settle([returned(claimed)]) == [True]
    assert (await job_of(backend, claimed.job.id)).state == "failed"
    assert await ids(backend, DEAD) == []


async def test_a_lost_lease_leaves_no_letter(backend: Backend) -> None:
    await add(backend, "a")
    claimed = await claim_one(backend)
    stranger = Lease(*lease(claimed)[:2], "1.nobody")
    other = failed(claimed, dead_letter=DEAD)
    other.lease = stranger
    assert await backend.settle([other]) == [False]
    assert await ids(backend, DEAD) == []
