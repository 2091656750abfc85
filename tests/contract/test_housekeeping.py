"""What hosts do for flows now and then: state goes after its grace, flows after their time, and those that stand still are told of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jobhost.config.document import Config
from jobhost.dispatch.housekeeping import tidy
from jobhost.queues.flows import InFlow, NewFlow, Subscriber
from jobhost.queues.seam import Backend

from .backends import TurnedClock, claim_one, completed
from .functions import Recorder

pytestmark = pytest.mark.anyio
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def config(**tables: Any) -> Config:
    return Config.model_validate({"queue_url": "memory://", **tables})


async def ended_flow(backend: Backend, id: str = "f1") -> None:
    """A flow that has ended, and has state."""
    await backend.start_flow(NewFlow(id, "orders", first=(Subscriber("a", "default"),)))
    await backend.state_set(f"flow:{id}", "k", b"1")
    claimed = await claim_one(backend)
    await backend.settle([completed(claimed, flow=InFlow(id, "orders", "a"))])


@pytest.mark.parametrize(
    ("cleanup", "gone"), [("on_complete", True), ("ttl", False), ("never", False)], ids=["on_complete", "ttl", "never"]
)
async def test_the_state_of_a_flow_goes_as_the_policy_says(
    backend: Backend, clock: TurnedClock, cleanup: str, gone: bool
) -> None:
    """F1: clean-up `on_complete` with its grace, `ttl`, `never`."""
    await ended_flow(backend)
    settings = config(state={"cleanup": cleanup, "grace": "1h"})
    clock.advance(HOUR - MINUTE)
    await tidy(backend, settings, Recorder(), clock.now)
    assert await backend.state_get("flow:f1", "k") == b"1"
    clock.advance(2 * MINUTE)
    await tidy(backend, settings, Recorder(), clock.now)
    assert (await backend.state_get("flow:f1", "k") is None) == gone
    assert await backend.flow("f1") is not None


async def test_many_flows_go_after_their_time(backend: Backend, clock: TurnedClock) -> None:
    """F3: retention."""
    for number in range(1_100):
        await backend.start_flow(NewFlow(f"f{number}", "orders", first=()))
    clock.advance(8 * DAY)
    await ended_flow(backend, "young")
    clock.advance(MINUTE)
    await tidy(backend, config(), Recorder(), clock.now)
    assert [flow.id for flow in (await backend.flows(limit=10))[0]] == ["young"]


async def test_a_flow_that_stands_still_is_told_of_once_in_a_while(backend: Backend, clock: TurnedClock) -> None:
    """F5: stall detection: its jobs only wait, and nothing was heard of it."""
    await backend.start_flow(NewFlow("f1", "orders", first=(Subscriber("a", "default"), Subscriber("b", "other"))))
    log = Recorder()
    settings = config(flows={"stalled_after": "1h"})
    await tidy(backend, settings, log, clock.now)
    assert log.said == []
    clock.advance(2 * HOUR)
    for _ in range(2):  # the second time it is news no more
        await tidy(backend, settings, log, clock.now)
    [said] = log.of("flow.stalled")
    assert (said["flow_id"], said["queues"]) == ("f1", ["default", "other"])
    last = (await backend.flow_events("f1"))[-1]
    assert last.type == "flow.stalled"
    assert [job["name"] for job in json.loads(last.data or b"")["waits_for"]] == ["a", "b"]
    clock.advance(2 * HOUR)
    await claim_one(backend)  # one of its jobs runs: it does not stand still
    await tidy(backend, settings, log, clock.now)
    assert len(log.of("flow.stalled")) == 1
    clock.advance(DAY)
    await tidy(backend, config(flows={"stalled_after": "none"}), log, clock.now)
    assert len(log.of("flow.stalled")) == 1
