"""What a run may emit, and what a flow may be: limits that name themselves, storms, long chains, what bundles are granted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from jobhost.client import Client
from jobhost.dispatch.flows import MOST_BYTES, MOST_EMITS
from jobhost.errors import PayloadError, UnknownFlowError
from jobhost.queues.job import NewJob

from .functions import Recorder, serving
from .hosting import PATIENCE, Hosted, error_of, hosted, make_backend, result_of

pytestmark = pytest.mark.anyio
STORM = """
config = {"flow": {"name": "storm", "emits": ["part"]}}


async def handler(job, ctx):
    for number in range(job.data["count"]):
        await ctx.flow.emit("part", "x" * job.data.get("size", 1))
    return job.data["count"]
"""
PART = """
config = {"queue": "parts", "flow": {"name": "storm", "subscribes": ["part"]}}


def handler(job, ctx):
    return None
"""


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def storm(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "storm"
    folder.mkdir()
    (folder / "storm.py").write_text(STORM)
    (folder / "part.py").write_text(PART)
    return {"path": folder}


async def test_a_storm_of_emits_is_delivered_up_to_the_limit(kind: str, storm: dict[str, Any], tmp_path: Path) -> None:
    """F5: 10,000 emits of one run are 10,000 jobs; one more fails the run, which then emits nothing."""
    async with hosted(make_backend(kind, tmp_path), storm) as host:
        host.host.workers["parts"].paused = True
        job = await host.run("storm", {"count": MOST_EMITS})
        assert result_of(job) == MOST_EMITS
        assert (await host.backend.counts("parts"))["waiting"] == MOST_EMITS
        refused = await host.run("storm", {"count": MOST_EMITS + 1}, attempts=1)
        error = error_of(refused)
        assert (error["type"], error["message"]) == ("FlowLimitError", "a run emits at most 10,000 times")
        assert (await host.backend.counts("parts"))["waiting"] == MOST_EMITS


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"count": 1, "size": 2_000_000}, "takes 1,048,576 (max_payload)"),
        ({"count": 20, "size": 1_000_000}, f"at most {MOST_BYTES:,} bytes"),
    ],
)
async def test_a_payload_over_the_limit_names_it(data: Any, text: str, storm: dict[str, Any], tmp_path: Path) -> None:
    async with hosted(make_backend("memory", tmp_path), storm) as host:
        error = error_of(await host.run("storm", data, attempts=1))
        assert error["type"] == "FlowLimitError"
        assert text in error["message"]
        assert (await host.backend.counts("parts"))["waiting"] == 0


async def test_a_flow_of_ten_thousand_steps(kind: str, tmp_path: Path) -> None:
    """F5: one after the other, each from the emit of the one before, in one flow."""
    steps = 10_000 if kind == "memory" else 1_000

    async def step(job: Any, ctx: Any) -> None:
        if job.data < steps:
            await ctx.flow.emit("next", job.data + 1)

    first = {"flow": {"name": "chain", "emits": ["next"]}}
    more = {"flow": {"name": "chain", "subscribes": ["next"], "emits": ["next"], "cycles": True}}
    queues = {"default": {"keep_completed": "all"}}
    async with serving(
        make_backend(kind, tmp_path), {"first": (step, first), "more": (step, more)}, queues=queues
    ) as host:
        await subscribed(host)
        async with Client(backend=host.backend) as client:
            flow = await client.start_flow("chain", 1)
            with anyio.fail_after(PATIENCE * 2):
                info = await flow.result()
            assert info["events"] == 3 * steps + 1
            jobs = await host.backend.flow_jobs(flow.id)
            assert [json.loads(job.data) for job in jobs] == list(range(1, steps + 1))


async def test_a_job_keeps_its_state_when_it_begins_a_flow(kind: str, tmp_path: Path) -> None:
    """F1: what it wrote before its first emit is there in the next attempt, and the flow's own state is apart."""

    async def work(job: Any, ctx: Any) -> Any:
        before = await ctx.state.get("n")
        await ctx.state.set("n", 1)
        await ctx.flow.emit("next", 1, immediate=True)
        if ctx.attempt == 1:
            raise ValueError("again")
        await ctx.state.of("flow").set("n", 2)
        return [before, await ctx.state.get("n"), ctx.flow_id == f"job-{ctx.idempotency_key}"]

    async def follow(job: Any, ctx: Any) -> Any:
        return await ctx.state.get("n")

    handlers = {"work": work, "follow": (follow, {"flow": {"subscribes": ["next"]}})}
    async with serving(make_backend(kind, tmp_path), handlers) as host:
        await subscribed(host)
        assert result_of(await host.run("work", attempts=2)) == [1, 1, True]


async def subscribed(host: Hosted) -> None:
    with anyio.fail_after(PATIENCE):
        await host.host.publisher.done.wait()


async def test_a_subscriber_that_comes_later_gets_what_is_emitted_from_then_on(kind: str, tmp_path: Path) -> None:
    """F5: what was emitted before it was there is told as unmatched, and stays visible in the flow."""

    async def first(job: Any, ctx: Any) -> None:
        await ctx.flow.emit("late", job.data)

    async def later(job: Any, ctx: Any) -> Any:
        return job.data

    log = Recorder()
    async with serving(
        make_backend(kind, tmp_path), {"first": (first, {"flow": {"name": "f", "emits": ["late"]}})}, log=log
    ) as host:
        await subscribed(host)
        async with Client(backend=host.backend) as client:
            flow = await client.start_flow("f", 1)
            with anyio.fail_after(PATIENCE):
                await flow.result()
            assert [said["trigger"] for said in log.of("emit.unmatched")] == ["late"]
            host.host.register(later, "later", flow={"name": "f", "subscribes": ["late"]})
            await subscribed(host)
            flow = await client.start_flow("f", 2)
            with anyio.fail_after(PATIENCE):
                await flow.result()
            assert [job["name"] for job in await flow.jobs()] == ["first", "later"]


async def test_emits_wait_until_all_bundles_have_told_what_they_subscribe_to(kind: str, tmp_path: Path) -> None:
    """F5: a first step that is quicker than the start of the next step's bundle loses nothing."""
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "next.py").write_text(
        f"""
import pathlib, time
while not pathlib.Path({str(tmp_path / "go")!r}).exists():
    time.sleep(0.01)
config = {{"flow": {{"name": "f", "subscribes": ["placed"]}}}}
def handler(job, ctx):
    return job.data
"""
    )
    quick = tmp_path / "quick"
    quick.mkdir()
    (quick / "place.py").write_text(
        'config = {"flow": {"name": "f", "emits": ["placed"]}}\n\n'
        'async def handler(job, ctx):\n    await ctx.flow.emit("placed", job.data)\n'
    )
    backend = make_backend(kind, tmp_path)
    await backend.open()
    await backend.add([NewJob("place", b"7")])
    if kind != "memory":
        await backend.close()
    async with anyio.create_task_group() as group:

        async def let_go() -> None:
            # The first step has run by now, and its end is held back.
            with anyio.fail_after(PATIENCE):
                while not (host := started.get("host")) or not hasattr(host, "held") or not host.held.waiting:
                    await anyio.sleep(0.01)
            (tmp_path / "go").touch()

        started: dict[str, Any] = {}
        group.start_soon(let_go)
        backend = backend if kind == "memory" else make_backend(kind, tmp_path)
        async with hosted(
            backend, {"path": quick}, {"path": slow}, on_host=lambda host: started.update(host=host)
        ) as host:
            with anyio.fail_after(PATIENCE):
                while (await host.backend.counts("default"))["completed"] < 2:
                    await anyio.sleep(0.01)
            jobs, _ = await host.backend.jobs("default")
            assert [job.name for job in jobs] == ["next", "place"]


async def test_a_confined_bundle_emits_and_hears_only_what_it_is_granted(tmp_path: Path) -> None:
    """F5: at `restricted` and `sandbox` emits and subscriptions are requests."""
    folder = tmp_path / "guests"
    folder.mkdir()
    (folder / "plain.py").write_text(
        'async def handler(job, ctx):\n    await ctx.flow.emit(job.data, 1)\n    return "sent"\n'
    )
    (folder / "greedy.py").write_text(
        'config = {"flow": {"subscribes": ["secrets"], "emits": ["orders.paid"]}}\n\ndef handler(job, ctx):\n    pass\n'
    )
    table = {"path": folder, "isolation": "restricted", "names": ["*"], "emits": ["guests.*"]}
    async with hosted(make_backend("memory", tmp_path), table) as host:
        problems = [str(problem) for problem in host.host.catalogue.problems]
        assert any("the emit 'orders.paid' is not granted" in text for text in problems)
        assert any("the subscription 'secrets' is not granted" in text for text in problems)
        assert result_of(await host.run("plain", "guests.came")) == "sent"
        error = error_of(await host.run("plain", "orders.paid", attempts=1))
        assert (error["type"], "not granted the emit 'orders.paid'" in error["message"]) == ("FlowError", True)


async def test_starts_that_cannot_be_are_said(tmp_path: Path) -> None:
    async with Client(f"sqlite:///{tmp_path}/jobs.db") as client:
        with pytest.raises(UnknownFlowError, match="no handler begins a flow 'orders'"):
            await client.start_flow("orders")
        with pytest.raises(PayloadError, match="max_payload"):
            await client.start_flow("orders", "x" * 2_000_000)
