"""Flows on every backend: emits in the commit, joins, ends of flows, sub-flows, events, cancel, what is forgotten."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from jobhost.errors import LeaseLostError
from jobhost.queues.flows import (
    Emit,
    FlowInfo,
    Happening,
    InFlow,
    NewFlow,
    Subscriber,
    own_flow_id,
)
from jobhost.queues.job import Claim, Event, Keep, Lease, NewJob, PublishedHandler
from jobhost.queues.seam import Backend

from .backends import (
    PATIENCE,
    TurnedClock,
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


def published(name: str, queue: str = "default", of: str = "orders", **flow: Any) -> PublishedHandler:
    flow = {"name": of, "step": None, "subscribes": [], "emits": [], "join": "each"} | flow
    return PublishedHandler(name, queue, json.dumps({"flow": flow}).encode())


async def publish(backend: Backend, **subscribes: list[str]) -> None:
    """Publish a handler for each name, subscribed to these triggers."""
    await backend.publish([published(name, subscribes=triggers) for name, triggers in subscribes.items()])


def place(claimed: Claim, step: str | None = None, counts: bool = True) -> InFlow:
    job = claimed.job
    flow_id = job.flow_id or own_flow_id(job.queue, job.id, job.created_at)
    return InFlow(flow_id, job.flow_name, step or job.name, counts)


async def finish(backend: Backend, claimed: Claim, *emits: Emit, result: bytes = b"null", **options: Any) -> list[str]:
    """Complete a job with its emits; gives the triggers that nobody subscribes to."""
    settlement = completed(claimed, result, flow=place(claimed), emits=emits, **options)
    assert await backend.settle([settlement]) == [True]
    return settlement.unmatched


async def start(
    backend: Backend, *first: str, flow: str = "f1", data: bytes = b"null", parent: str | None = None
) -> None:
    entries = tuple(Subscriber(name, "default") for name in first)
    assert await backend.start_flow(NewFlow(flow, "orders", data, parent, entries)) == (True, len(first))


async def flow_of(backend: Backend, id: str = "f1") -> FlowInfo:
    flow = await backend.flow(id)
    assert flow is not None
    return flow


async def types(backend: Backend, id: str = "f1") -> list[str]:
    return [event.type for event in await backend.flow_events(id)]


async def waiting(backend: Backend, queue: str = "default") -> list[str]:
    """Names of the jobs that wait, in their order."""
    jobs, _ = await backend.jobs(queue, ["waiting"])
    return [job.name for job in reversed(jobs)]


# Emits ----------------------------------------------------------------------------------------------------------------


async def test_an_emit_gives_each_subscriber_a_job_in_the_same_flow(backend: Backend, other: Backend) -> None:
    """F5: subscribe and emit."""
    await publish(backend, charge=["placed"], pack=["placed"], other=["paid"])
    await start(backend, "place")
    assert await finish(backend, await claim_one(backend), Emit("placed", b'{"n":1}')) == []
    claimed = await claim(other, 10)
    assert [(one.job.name, one.job.data, one.job.flow_id, one.job.flow_name) for one in claimed] == [
        ("charge", b'{"n":1}', "f1", "orders"),
        ("pack", b'{"n":1}', "f1", "orders"),
    ]


async def test_subscribers_get_their_jobs_in_their_own_queues(backend: Backend) -> None:
    await backend.publish([published("charge", "money", subscribes=["placed"])])
    await start(backend, "place")
    await finish(backend, await claim_one(backend), Emit("placed", b"1"))
    assert [one.job.name for one in await claim(backend, 10, "money")] == ["charge"]


async def test_emits_of_one_trigger_all_count_and_keep_their_order(backend: Backend) -> None:
    """F5: fan-out: the same trigger many times."""
    await publish(backend, part=["part"])
    await start(backend, "split")
    emits = [Emit("part", b"%d" % number, ordinal=number) for number in range(100)]
    await finish(backend, await claim_one(backend), *emits)
    assert [one.job.data for one in await claim(backend, 200)] == [b"%d" % number for number in range(100)]


async def test_one_key_is_one_emit(backend: Backend) -> None:
    await publish(backend, part=["part"])
    await start(backend, "split")
    emits = [Emit("part", b"1", "a", 0), Emit("part", b"2", "b", 0), Emit("part", b"3", "a", 0)]
    await finish(backend, await claim_one(backend), *emits)
    assert [one.job.data for one in await claim(backend, 10)] == [b"1", b"2"]


async def test_a_lost_lease_emits_nothing(backend: Backend) -> None:
    """G6: a fenced run emits nothing."""
    await publish(backend, charge=["placed"])
    await start(backend, "place")
    claimed = await claim_one(backend)
    stale = completed(claimed, flow=place(claimed), emits=[Emit("placed", b"1")])
    stale.lease = Lease(stale.lease.queue, stale.lease.id, "stale")
    assert await backend.settle([stale]) == [False]
    assert await waiting(backend) == []
    assert "step.emitted" not in await types(backend)


async def test_what_is_settled_twice_emits_once(backend: Backend) -> None:
    """G6: a redelivery never doubles."""
    await publish(backend, charge=["placed"])
    await start(backend, "place")
    claimed = await claim_one(backend)
    settlement = completed(claimed, flow=place(claimed), emits=[Emit("placed", b"1")])
    assert await backend.settle([settlement]) == [True]
    assert await backend.settle([settlement]) == [False]
    assert await waiting(backend) == ["charge"]


async def test_a_job_that_runs_again_emits_nothing_twice(backend: Backend) -> None:
    """G6: also where what it emitted has been worked and forgotten."""
    await backend.publish([published("charge", "money", subscribes=["placed"])])
    await start(backend, "place")
    claimed = await claim_one(backend)
    await finish(backend, claimed, Emit("placed", b"1"))
    await finish(backend, await claim_one(backend, "money"), keep=Keep(0))
    assert await backend.retry("default", claimed.job.id)
    await finish(backend, await claim_one(backend), Emit("placed", b"1"), Emit("placed", b"2", ordinal=1))
    assert [one.job.data for one in await claim(backend, 10, "money")] == [b"2"]


async def test_triggers_that_nobody_subscribes_to_are_told(backend: Backend) -> None:
    await publish(backend, charge=["placed"])
    await start(backend, "place")
    emits = [Emit("placed", b"1"), Emit("lost", b"2"), Emit("step:place", b"3", implied=True)]
    assert await finish(backend, await claim_one(backend), *emits) == ["lost"]
    told = [json.loads(event.data or b"") for event in await backend.flow_events("f1") if event.type == "step.emitted"]
    assert told[1] == {"trigger": "lost", "to": []}
    assert len(told) == 2


async def test_an_immediate_emit_is_there_at_once_and_once_for_all_attempts(backend: Backend) -> None:
    """F5: immediate=True."""
    await publish(backend, charge=["placed"])
    await start(backend, "place")
    claimed = await claim_one(backend)
    for _ in range(2):
        assert await backend.emit(lease(claimed), place(claimed), 1, [Emit("placed", b"1"), Emit("lost", b"2")]) in (
            ["lost"],
            [],
        )
    await finish(backend, await claim_one(backend), keep=Keep(0))
    await backend.settle([returned(claimed, flow=place(claimed), error=b'{"type":"E"}')])
    again = await claim_one(backend)
    assert again.job.name == "place"
    assert await backend.emit(lease(again), place(again), 2, [Emit("placed", b"1")]) == []
    assert await waiting(backend) == []
    with pytest.raises(LeaseLostError):
        await backend.emit(lease(claimed), place(claimed), 1, [Emit("placed", b"3", ordinal=1)])


async def test_a_job_outside_of_flows_begins_one_with_its_first_emit(backend: Backend) -> None:
    """F2: a flow id from the job, or a new one."""
    await publish(backend, charge=["placed"])
    [added] = await backend.add([NewJob("place")])
    claimed = await claim_one(backend)
    assert claimed.job.flow_id is None
    await finish(backend, claimed, Emit("placed", b"1"))
    flow_id = f"job-default:{added.id}:{added.created_at}"
    next_claim = await claim_one(backend)
    assert next_claim.job.flow_id == flow_id
    assert (await job_of(backend, added.id)).flow_id == flow_id
    await finish(backend, next_claim)
    assert (await flow_of(backend, flow_id)).status == "completed"
    assert [job.name for job in await backend.flow_jobs(flow_id)] == ["place", "charge"]


@pytest.mark.parametrize("data", [b'{"flowId":"f9","flowName":"orders","n":[1]}', b' {"n":{"a":1},"flowId":"f9"}'])
async def test_a_job_whose_data_names_a_flow_belongs_to_it(backend: Backend, data: bytes) -> None:
    """F2: `flowId` in the data of a job from outside."""
    await publish(backend, charge=["placed"])
    await backend.add([NewJob("place", data)])
    claimed = await claim_one(backend)
    assert claimed.job.flow_id == "f9"
    assert (await flow_of(backend, "f9")).status == "running"
    await finish(backend, claimed)
    assert (await flow_of(backend, "f9")).status == "completed"


async def test_a_dead_letter_keeps_no_flow_waiting(backend: Backend) -> None:
    """G3: the copy is of no flow, though its data names one."""
    await backend.add([NewJob("place", b'{"flowId":"f9"}')])
    claimed = await claim_one(backend)
    assert await backend.settle([failed(claimed, flow=place(claimed), dead_letter="dead")]) == [True]
    assert (await flow_of(backend, "f9")).status == "failed"
    [letter] = (await backend.jobs("dead"))[0]
    assert letter.flow_id is None


# Joins ----------------------------------------------------------------------------------------------------------------


async def test_a_join_waits_for_all_its_triggers(backend: Backend, other: Backend) -> None:
    """F5: dependencies: `join = "all"`; the first payload of each trigger counts."""
    await backend.publish([published("ship", subscribes=["paid", "packed"], join="all")])
    await start(backend, "charge", "pack")
    first, second = await claim(backend, 2)
    await finish(backend, first, Emit("paid", b'{"sum":3}'), Emit("paid", b'{"sum":4}', ordinal=1))
    assert await waiting(backend) == []
    await finish(backend, second, Emit("packed", b"[1]"))
    ship = await claim_one(other)
    assert (ship.job.name, json.loads(ship.job.data)) == ("ship", {"paid": {"sum": 3}, "packed": [1]})
    ignored = [event for event in await backend.flow_events("f1") if event.type == "step.ignored"]
    assert [(event.step, json.loads(event.data or b"")["trigger"]) for event in ignored] == [("ship", "paid")]


async def test_a_join_is_once_per_key(backend: Backend) -> None:
    await backend.publish([published("ship", subscribes=["paid", "packed"], join="all")])
    await start(backend, "all")
    emits = [Emit(trigger, key.encode().join([b'"', b'"']), key) for key in "ab" for trigger in ("paid", "packed")]
    await finish(backend, await claim_one(backend), *emits)
    jobs = [json.loads(one.job.data) for one in await claim(backend, 10)]
    assert jobs == [{"paid": "a", "packed": "a"}, {"paid": "b", "packed": "b"}]


async def test_a_flow_ends_though_a_join_never_got_all(backend: Backend) -> None:
    await backend.publish([published("ship", subscribes=["paid", "packed"], join="all")])
    await start(backend, "charge")
    await finish(backend, await claim_one(backend), Emit("paid", b"1"))
    assert (await flow_of(backend)).status == "completed"
    last = (await backend.flow_events("f1"))[-1]
    assert (last.type, json.loads(last.data or b"")) == ("flow.completed", {"unmet": ["ship"]})


# Ends -----------------------------------------------------------------------------------------------------------------


async def test_a_flow_completes_when_every_step_has_ended(backend: Backend, clock: TurnedClock) -> None:
    """F3: the events of a flow, in order."""
    await publish(backend, charge=["placed"])
    await start(backend, "place", data=b'{"n":1}')
    claimed = await claim_one(backend)
    await backend.happened([Happening(lease(claimed), place(claimed), "step.started", 1)])
    await finish(backend, claimed, Emit("placed", b"1"), result=b'{"ok":true}')
    assert (await flow_of(backend)).status == "running"
    clock.advance(5)
    await finish(backend, await claim_one(backend))
    flow = await flow_of(backend)
    assert (flow.status, flow.finished_at, flow.data) == ("completed", clock.now, b'{"n":1}')
    events = await backend.flow_events("f1")
    assert [event.type for event in events] == [
        "flow.started",
        "step.started",
        "step.completed",
        "step.emitted",
        "step.completed",
        "flow.completed",
    ]
    assert [event.n for event in events] == [1, 2, 3, 4, 5, 6]
    second = events[2]
    assert (second.flow_id, second.flow_name, second.step, second.attempt) == ("f1", "orders", "place", 1)
    assert (second.queue, second.job_id, second.data) == ("default", claimed.job.id, b'{"result":{"ok":true}}')
    assert flow.events == 6


async def test_a_flow_without_first_steps_ends_at_once(backend: Backend) -> None:
    await start(backend)
    assert (await flow_of(backend)).status == "completed"


async def test_a_flow_fails_when_a_step_did(backend: Backend) -> None:
    """F3: step.retry, step.failed, flow.failed with their data."""
    await start(backend, "a", "b")
    first, second = await claim(backend, 2)
    error = b'{"type":"E","message":"no"}'
    await backend.settle([returned(first, error=error, flow=place(first))])
    first = await claim_one(backend)
    await backend.settle([failed(first, error, flow=place(first))])
    assert (await flow_of(backend)).status == "running"
    await finish(backend, second)
    flow = await flow_of(backend)
    assert (flow.status, flow.error) == ("failed", error)
    events = [(event.type, event.attempt) for event in await backend.flow_events("f1")]
    assert events[1:] == [("step.retry", 1), ("step.failed", 2), ("step.completed", 1), ("flow.failed", 0)]


async def test_a_failure_that_does_not_count_leaves_the_flow_alone(backend: Backend) -> None:
    """F5: the policy when a step fails: go on."""
    await start(backend, "a")
    claimed = await claim_one(backend)
    await backend.settle([failed(claimed, flow=place(claimed, counts=False))])
    assert (await flow_of(backend)).status == "completed"


async def test_a_failed_step_can_emit_what_makes_good(backend: Backend) -> None:
    await publish(backend, refund=["step:charge:failed"])
    await start(backend, "charge")
    claimed = await claim_one(backend)
    emits = [Emit("step:charge:failed", b'{"error":1}', implied=True)]
    await backend.settle([failed(claimed, flow=place(claimed), emits=emits)])
    refund = await claim_one(backend)
    assert (refund.job.name, refund.job.data) == ("refund", b'{"error":1}')
    await finish(backend, refund)
    assert (await flow_of(backend)).status == "failed"


async def test_a_failed_step_that_is_retried_lets_its_flow_run_again(backend: Backend) -> None:
    """F5: restart of a flow from a failed step."""
    await start(backend, "a")
    claimed = await claim_one(backend)
    await backend.settle([failed(claimed, flow=place(claimed))])
    assert (await flow_of(backend)).status == "failed"
    assert await backend.retry("default", claimed.job.id)
    assert (await flow_of(backend)).status == "running"
    await finish(backend, await claim_one(backend))
    flow = await flow_of(backend)
    assert (flow.status, flow.error) == ("completed", None)


async def test_what_is_told_late_does_not_open_a_flow_again(backend: Backend) -> None:
    """F3: by a host that lost the job and wakes up: the event is kept, and the flow has ended once."""
    await start(backend, "a")
    claimed = await claim_one(backend)
    await finish(backend, claimed)
    before = await flow_of(backend)
    await backend.happened([Happening(lease(claimed), place(claimed), "step.progress", 1, b'{"progress":9}')])
    after = await flow_of(backend)
    assert (after.status, after.finished_at) == ("completed", before.finished_at)
    assert (await types(backend))[-2:] == ["flow.completed", "step.progress"]


@pytest.mark.parametrize("how", ["cancel", "remove", "drain", "clean", "queue", "stalled"])
async def test_a_flow_ends_when_its_last_job_is_gone(backend: Backend, clock: TurnedClock, how: str) -> None:
    await start(backend, "a")
    [id] = await ids(backend)
    if how == "cancel":
        assert await backend.cancel("default", id) == "cancelled"
    elif how == "remove":
        assert await backend.remove("default", id)
    elif how == "drain":
        assert await backend.drain("default") == 1
    elif how == "clean":
        clock.advance(1_000)
        assert await backend.clean("default", "waiting") == 1
    elif how == "queue":
        assert await backend.remove_queue("default") == 1
    else:
        await claim_one(backend)
        clock.advance(40_000)
        assert (await backend.recover("default", 0)).failed == [id]
    flow = await flow_of(backend)
    assert flow.status == ("failed" if how in ("cancel", "stalled") else "completed")


async def test_a_cancelled_flow_takes_no_emits(backend: Backend) -> None:
    """F5: cancel of a whole flow."""
    await publish(backend, charge=["placed"])
    await start(backend, "place")
    claimed = await claim_one(backend)
    assert await backend.cancel_flow("f1")
    assert not await backend.cancel_flow("f1")
    await finish(backend, claimed, Emit("placed", b"1"))
    assert await waiting(backend) == []
    flow = await flow_of(backend)
    assert flow.status == "cancelled"
    assert json.loads(flow.error or b"")["type"] == "CancelledError"
    assert (await types(backend))[-1] == "step.ignored"
    assert await backend.reopen_flow("f1")
    assert not await backend.reopen_flow("no such flow")
    assert (await flow_of(backend)).status == "running"
    assert await backend.sweep_flows(0, 0) == 0  # nothing of it is left to run
    assert (await flow_of(backend)).status == "completed"


# Starts and sub-flows ---------------------------------------------------------------------------------------------------


async def test_a_flow_starts_with_the_handlers_of_its_name_that_wait_for_nothing(backend: Backend) -> None:
    """F5: `flow start`."""
    other = PublishedHandler("other", "default", json.dumps({"flow": {"name": "refunds", "subscribes": []}}).encode())
    plain = PublishedHandler("plain", "default", b'{"flow":null}')
    await backend.publish([published("place"), published("charge", subscribes=["placed"]), other, plain])
    assert await backend.start_flow(NewFlow("f1", "orders", b'{"n":1}')) == (True, 1)
    assert await backend.start_flow(NewFlow("f1", "orders", b'{"n":2}')) == (False, 0)
    [claimed] = await claim(backend, 10)
    assert (claimed.job.name, claimed.job.data) == ("place", b'{"n":1}')


async def test_a_sub_flow_holds_its_parent_open_and_tells_it(backend: Backend) -> None:
    """F5: sub-flows."""
    await backend.publish(
        [published("parcel", of="parcels"), published("done", subscribes=["flow:parcels"]), published("charge")]
    )
    await start(backend, "split")
    await finish(backend, await claim_one(backend), Emit("parcels", b'{"p":1}', starts=True))
    parcel = await claim_one(backend)
    [child] = await backend.flow_children("f1")
    assert (child.name, child.parent, child.data, parcel.job.flow_id) == ("parcels", "f1", b'{"p":1}', child.id)
    assert (await flow_of(backend)).status == "running"
    await finish(backend, parcel)
    done = await claim_one(backend)
    assert (done.job.name, done.job.flow_id) == ("done", "f1")
    assert json.loads(done.job.data) == {"flow_id": child.id, "status": "completed"}
    await finish(backend, done)
    assert (await flow_of(backend)).status == "completed"
    assert (await flow_of(backend, child.id)).status == "completed"


async def test_a_sub_flow_that_fails_fails_its_parent_until_it_succeeds(backend: Backend) -> None:
    """F5: a sub-flow's failure counts; a restart of it is one of its parent."""
    await backend.publish([published("parcel", of="parcels"), published("sorry", subscribes=["flow:parcels:failed"])])
    await start(backend, "split")
    await finish(backend, await claim_one(backend), Emit("parcels", b"1", starts=True))
    parcel = await claim_one(backend)
    error = b'{"type":"E","message":"lost"}'
    await backend.settle([failed(parcel, error, flow=place(parcel))])
    await finish(backend, await claim_one(backend))
    parent = await flow_of(backend)
    assert (parent.status, parent.error) == ("failed", error)
    assert await backend.retry("default", parcel.job.id)
    assert (await flow_of(backend)).status == "running"
    await finish(backend, await claim_one(backend))
    parent = await flow_of(backend)
    assert (parent.status, parent.error) == ("completed", None)


async def test_a_flow_that_nobody_begins_is_told(backend: Backend) -> None:
    await start(backend, "split")
    assert await finish(backend, await claim_one(backend), Emit("nothing", b"1", starts=True)) == ["nothing"]


# Subscriptions -----------------------------------------------------------------------------------------------------------


async def test_a_handler_that_is_published_anew_has_its_new_subscriptions(backend: Backend, other: Backend) -> None:
    """F5: subscriptions outlive their host until they are replaced or forgotten."""
    await publish(backend, charge=["placed"])
    await publish(other, charge=["paid"], pack=["paid"])
    await start(backend, "place")
    unmatched = await finish(backend, await claim_one(backend), Emit("placed", b"1"), Emit("paid", b"2"))
    assert unmatched == ["placed"]
    assert await waiting(backend) == ["charge", "pack"]
    assert await other.unpublish(["pack", "nobody"]) == 1
    assert [handler.name for handler in await backend.published()] == ["charge"]
    await finish(backend, await claim_one(backend), Emit("paid", b"3"))
    assert sorted(await waiting(backend)) == ["charge", "pack"]


# Looking and forgetting ----------------------------------------------------------------------------------------------------


async def test_flows_are_listed_newest_first_page_by_page(backend: Backend, clock: TurnedClock) -> None:
    for number in range(5):
        clock.advance(1)
        await start(backend, *(["a"] if number % 2 else []), flow=f"f{number}")
    page, cursor = await backend.flows(limit=3)
    assert [flow.id for flow in page] == ["f4", "f3", "f2"]
    rest, end = await backend.flows(limit=3, cursor=cursor)
    assert ([flow.id for flow in rest], end) == (["f1", "f0"], None)
    running, _ = await backend.flows(statuses=["running"])
    assert [flow.id for flow in running] == ["f3", "f1"]
    first, cursor = await backend.flows(statuses=["running"], limit=1)
    last, end = await backend.flows("orders", ["running"], cursor=cursor)
    assert ([flow.id for flow in (*first, *last)], end) == (["f3", "f1"], None)
    assert (await backend.flows("nobody"))[0] == []
    assert len((await backend.flows("orders", ["completed"]))[0]) == 3


async def test_events_are_read_from_any_point(backend: Backend) -> None:
    """F3: replayable."""
    await start(backend, "a", "b", "c")
    for claimed in await claim(backend, 3):
        await finish(backend, claimed)
    assert [event.n for event in await backend.flow_events("f1", after=2)] == [3, 4, 5]
    assert [event.n for event in await backend.flow_events("f1", after=1, limit=2)] == [2, 3]
    assert await backend.flow_events("f1", after=5) == []
    assert await backend.flow_events("nothing") == []


async def test_other_processes_hear_that_something_happened_in_a_flow(backend: Backend, other: Backend) -> None:
    """F3: streamed."""
    heard: list[Event] = []
    done = anyio.Event()
    async with (
        aclosing(other.events(types=("flow",))) as events,  # type: ignore[type-var]
        anyio.create_task_group() as group,
    ):

        async def listen() -> None:
            async for event in events:
                heard.append(event)
                if event.job_id == "f1":
                    done.set()

        group.start_soon(listen)
        with anyio.fail_after(PATIENCE):
            number = 0
            while not heard:  # from the first step of the listener on
                await start(backend, flow=f"probe{number}")
                number += 1
                await anyio.wait_all_tasks_blocked()
            await start(backend, "a")
            await finish(backend, await claim_one(backend))
            await done.wait()
        group.cancel_scope.cancel()
    assert {event.type for event in heard} == {"flow"}


async def test_flows_that_ended_long_ago_are_forgotten_with_their_state(backend: Backend, clock: TurnedClock) -> None:
    """F5: clean-up by age; the state goes first."""
    await start(backend, "a")
    await backend.state_set("flow:f1", "k", b"1")
    await backend.state_set("flow:f2", "k", b"1")
    await finish(backend, await claim_one(backend))
    clock.advance(1_000)
    assert await backend.sweep_flows(clock.now - 2_000, clock.now - 2_000) == 0
    assert await backend.state_get("flow:f1", "k") == b"1"
    assert await backend.sweep_flows(clock.now, clock.now - 2_000) == 0
    assert await backend.state_get("flow:f1", "k") is None
    assert (await flow_of(backend)).status == "completed"
    assert await backend.sweep_flows(clock.now, clock.now) == 1
    assert await backend.flow("f1") is None
    assert await backend.flow_events("f1") == []
    assert (await backend.flows())[0] == []
    assert await backend.state_get("flow:f2", "k") == b"1"
