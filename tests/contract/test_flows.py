"""Flows of real hosts, with one meaning on every backend and in every language."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.client import Client
from jobhost.errors import FlowFailedError
from jobhost.flow_handles import FlowHandle
from jobhost.queues.job import Job

from .functions import Recorder
from .hosting import PATIENCE, Hosted, error_of, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
FLOWS = Path(__file__).parent.parent / "fixtures" / "flows"
RUNTIMES: dict[str, dict[str, Any]] = {
    "in-process": {"path": FLOWS / "python", "isolation": "none"},
    "python": {"path": FLOWS / "python"},
    "node": {"path": FLOWS / "node"},
}


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def backend_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log() -> Recorder:
    return Recorder()


@pytest.fixture
async def serving(runtime: str, backend_kind: str, tmp_path: Path, log: Recorder) -> AsyncIterator[Hosted]:
    table = {**RUNTIMES[runtime], "limits": {"grace": "200ms"}}
    async with hosted(make_backend(backend_kind, tmp_path), table, log=log) as serving:
        yield serving


@pytest.fixture
async def client(serving: Hosted) -> AsyncIterator[Client]:
    with anyio.fail_after(PATIENCE):
        await serving.host.publisher.done.wait()
    async with Client(backend=serving.backend) as client:
        yield client


async def ended(flow: FlowHandle) -> dict[str, Any]:
    """The flow once it has ended, however that was."""
    with anyio.fail_after(PATIENCE):
        try:
            return await flow.result()
        except FlowFailedError:
            return await flow.info()


async def jobs(client: Client, flow: FlowHandle, name: str) -> list[Job]:
    return [job for job in await client.backend.flow_jobs(flow.id) if job.name == name]


def emits(*some: tuple[Any, ...]) -> dict[str, Any]:
    return {"emits": [[*one, None, False][:4] if len(one) < 4 else list(one) for one in some]}


async def test_a_flow_runs_through_its_steps(client: Client) -> None:
    """F1, F2, F5: emits, a join, an edge from step to step, ids."""
    flow = await client.start_flow("orders", emits(("paid", {"sum": 3}), ("packed", [1]), ("part", 1), ("part", 2)))
    assert (await ended(flow))["status"] == "completed"
    [place] = await jobs(client, flow, "place")
    assert result_of(place) == {"flow_id": flow.id, "step_id": f"{flow.id}__place__attempt-1"}
    [ship] = await jobs(client, flow, "ship")
    assert result_of(ship) == {"paid": {"sum": 3}, "packed": [1]}
    assert [result_of(job) for job in await jobs(client, flow, "part")] == [1, 2]
    [after] = await jobs(client, flow, "after")
    assert result_of(after) == {"data": result_of(place), "name": "orders", "step": "after"}


async def test_a_run_that_fails_emits_nothing_and_a_retry_once(client: Client) -> None:
    """G6: emits of the attempt that succeeds, each once."""
    flow = await client.start_flow("orders", {**emits(("part", 1), ("part", 2)), "fails": 2})
    assert (await ended(flow))["status"] == "completed"
    assert [result_of(job) for job in await jobs(client, flow, "part")] == [1, 2]
    events = [event["type"] for event in await flow.events()]
    assert events.count("step.retry") == 2
    assert events.count("step.started") == 6


async def test_a_flow_fails_with_its_step_and_makes_good(client: Client) -> None:
    """F5: compensation: `step:NAME:failed`."""
    data = {**emits(("part", 1)), "fails": 9}
    flow = await client.start_flow("orders", data)
    with anyio.fail_after(PATIENCE), pytest.raises(FlowFailedError, match="not yet"):
        await flow.result()
    assert await jobs(client, flow, "part") == []
    [refund] = await jobs(client, flow, "refund")
    told = result_of(refund)
    [place] = await jobs(client, flow, "place")
    assert (told["data"], told["job_id"], told["error"]["message"]) == (data, place.id, "not yet")


async def test_an_immediate_emit_counts_though_its_run_fails(client: Client) -> None:
    """F5: immediate=True, once over all attempts."""
    flow = await client.start_flow("orders", {**emits(("part", 1, None, True), ("part", 2)), "fails": 9})
    assert (await ended(flow))["status"] == "failed"
    assert [result_of(job) for job in await jobs(client, flow, "part")] == [1]


async def test_a_timed_out_run_emits_nothing(client: Client, runtime: str) -> None:
    """G2, G6."""
    id = await client.enqueue("place", {**emits(("part", 1)), "hang": True}, timeout="300ms", attempts=1)
    with anyio.fail_after(PATIENCE):
        while (job := await client.backend.get("default", id.id)) is None or job.state != "failed":
            await anyio.sleep(0.01)
    assert error_of(job)["type"] == "TimeoutError"
    assert job.flow_id is not None  # the failure of a step is an edge too
    assert [one.name for one in await client.backend.flow_jobs(job.flow_id)] == ["place", "refund"]


async def test_a_trigger_that_is_not_declared_raises(client: Client) -> None:
    """F5: outside of the handler's `emits`."""
    flow = await client.start_flow("orders", emits(("lost", 1)))
    assert (await ended(flow))["status"] == "failed"
    [place] = await jobs(client, flow, "place")
    assert error_of(place)["type"] == "FlowError"
    assert "may not emit 'lost'" in error_of(place)["message"]


async def test_what_nobody_subscribes_to_is_said_once(client: Client, log: Recorder) -> None:
    """Not lost silently: in the log once for each trigger, and in the flow's events."""
    for _ in range(2):
        flow = await client.start_flow("orders", emits(("nobody", {"n": 1}), ("part", 1)))
        assert (await ended(flow))["status"] == "completed"
    unmatched = log.of("emit.unmatched")
    assert sorted(entry["trigger"] for entry in unmatched) == ["nobody", "parted"]
    told = [event["data"] for event in await flow.events() if event["type"] == "step.emitted"]
    assert {"trigger": "nobody", "to": []} in told


async def test_a_job_outside_of_flows_begins_one_with_its_first_emit(serving: Hosted, client: Client) -> None:
    """F2."""
    job = await serving.run("plain", {"n": 1})
    flow_id = f"job-default:{job.id}:{job.created_at}"
    assert result_of(job) == [None, flow_id]
    assert (await ended(client.flow(flow_id)))["status"] == "completed"
    [part] = await jobs(client, client.flow(flow_id), "part")
    assert result_of(part) == {"n": 1}


async def test_a_run_starts_a_flow_under_its_own(client: Client) -> None:
    """F5: sub-flows, from a handler."""
    flow = await client.start_flow("parents", "children")
    assert (await ended(flow))["status"] == "completed"
    [parent] = await jobs(client, flow, "parent")
    child = client.flow(result_of(parent))
    info = await child.info()
    assert (info["name"], info["parent"], info["status"]) == ("children", flow.id, "completed")
    [job] = await jobs(client, child, "child")
    assert result_of(job) == {"from": "parent"}
    missing = await client.start_flow("parents", "nothing")
    assert "no handler begins a flow 'nothing'" in (await ended(missing))["error"]["message"]


async def test_events_have_the_form_that_is_written_down(client: Client) -> None:
    """F3: events with their data, in order, numbered, replayable from any point."""
    flow = await client.start_flow("orders", {**emits(("part", 1)), "fails": 1})
    await ended(flow)
    events = await flow.events()
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events][:3] == ["flow.started", "step.started", "step.retry"]
    assert events[-1]["type"] == "flow.completed"
    retry = events[2]
    [place] = await jobs(client, flow, "place")
    assert set(retry) == {
        *("id", "ts", "type", "run_id", "flow_id", "flow_name", "step_name", "step_id", "attempt", "queue", "job_id"),
        "data",
    }
    assert (retry["flow_name"], retry["step_name"], retry["attempt"]) == ("orders", "order", 1)
    assert (retry["flow_id"], retry["step_id"]) == (flow.id, f"{flow.id}__place__attempt-1")
    assert (retry["run_id"], retry["job_id"]) == (f"default:{place.id}:1", place.id)
    assert retry["data"]["error"]["message"] == "not yet"
    assert [event["id"] for event in await flow.events(after=3)] == list(range(4, len(events) + 1))


async def test_events_are_followed_live(client: Client) -> None:
    """F3: streamed; the stream ends with the flow."""
    flow = await client.start_flow("orders", emits(("part", 1)))
    with anyio.fail_after(PATIENCE):
        seen = [event["id"] async for event in flow.follow()]
    assert seen == [event["id"] for event in await flow.events()]


async def test_a_cancelled_flow_stops_its_steps(client: Client) -> None:
    """F5: cancel of a whole flow."""
    flow = await client.start_flow("orders", {**emits(("part", 1)), "hang": True})
    with anyio.fail_after(PATIENCE):
        async for event in flow.follow():
            if event["type"] == "step.started":
                break
        assert await flow.cancel()
        while [job.state for job in await jobs(client, flow, "place")] != ["failed"]:
            await anyio.sleep(0.01)
    assert (await flow.info())["status"] == "cancelled"
    assert [job.name for job in await client.backend.flow_jobs(flow.id)] == ["place"]


async def test_a_failed_flow_goes_on_from_the_step_that_failed(client: Client) -> None:
    """F5: restart of a flow from a failed step; what it had emitted before is not emitted again."""
    flow = await client.start_flow("orders", {**emits(("part", 1, None, True), ("part", 2)), "fails": 3})
    assert (await ended(flow))["status"] == "failed"
    place = (await jobs(client, flow, "place"))[0]
    await client.backend.state_set("global", "x", b"1")
    assert await flow.restart(step="nothing") == []
    [again] = await flow.restart()
    assert again["id"] == place.id
    assert (await ended(flow))["status"] == "failed"  # it fails three times again
    assert [result_of(job) for job in await jobs(client, flow, "part")] == [1]
    assert json.loads((await jobs(client, flow, "place"))[0].error or b"{}")["message"] == "not yet"
