"""Random lives of flows: memory, SQLite and Redis come to the same flows, events and jobs, step by step."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from jobhost.queues.flows import Emit, FlowEvent, Happening, InFlow, NewFlow, own_flow_id
from jobhost.queues.job import Claim, NewJob, PublishedHandler, Settlement
from jobhost.queues.seam import Backend

from .backends import STORES, TurnedClock, claim, lease

HANDLERS = ("a", "b", "c")
FLOWS = ("x", "y")
TRIGGERS = ("t", "u", "step:a", "step:b:failed", "flow:x", "flow:y:failed")
ERROR = b'{"type":"E","message":"no"}'
some_emit = st.builds(
    lambda trigger, key, starts, payload: (trigger, key, starts, payload),
    st.sampled_from(("t", "u", "nobody")),
    st.sampled_from((None, None, "k", "l")),
    st.sampled_from((False, False, False, True)),
    st.sampled_from((b"1", b'{"n":[null]}', b'"text"')),
)
which = st.integers(0, 10**6)


class Flows(RuleBasedStateMachine):
    """All backends, doing the same."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.backends: list[Backend] = [make(self.folder, self.clock)() for make in STORES.values()]
        self.held: dict[str, list[Claim]] = {}
        """Claims that have not ended, by job: one at each backend."""
        self.known: list[str] = []
        """Ids of jobs that were ever claimed."""
        self.count = 0

    @initialize()
    def open(self) -> None:
        self.everywhere(lambda backend: backend.open())

    def teardown(self) -> None:
        self.compare()
        self.everywhere(lambda backend: backend.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def everywhere(self, do: Callable[[Backend], Coroutine[Any, Any, Any]]) -> Any:
        return self.same([self.runner.run(do(backend)) for backend in self.backends])

    def same(self, outcomes: list[Any]) -> Any:
        for outcome in outcomes[1:]:
            assert outcome == outcomes[0]
        return outcomes[0]

    def number(self) -> int:
        self.count += 1
        self.clock.now += 1
        return self.count

    # What may happen -------------------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(HANDLERS),
        of=st.sampled_from(FLOWS),
        triggers=st.lists(st.sampled_from(TRIGGERS), max_size=3),
        join=st.booleans(),
    )
    def publish(self, name: str, of: str, triggers: list[str], join: bool) -> None:
        flow = {"name": of, "subscribes": triggers, "join": "all" if join else "each"}
        handler = PublishedHandler(name, "default", json.dumps({"flow": flow}).encode())
        self.everywhere(lambda backend: backend.publish([handler]))

    @rule(name=st.sampled_from(FLOWS))
    def start(self, name: str) -> None:
        new = NewFlow(f"f{self.number()}", name, b'{"start":1}')
        self.everywhere(lambda backend: backend.start_flow(new))

    @rule(name=st.sampled_from(HANDLERS), inside=st.booleans())
    def add(self, name: str, inside: bool) -> None:
        data = b'{"flowId":"outside","flowName":"x"}' if inside else b"1"
        new = NewJob(name, data, id=f"j{self.number()}")
        self.everywhere(lambda backend: backend.add([new]))

    @rule()
    def take(self) -> None:
        self.number()
        found = [{one.job.id: one for one in self.runner.run(claim(backend, 100))} for backend in self.backends]
        for id in self.same([sorted(each) for each in found]):
            self.held[id] = [each[id] for each in found]
            if id not in self.known:
                self.known.append(id)

    def pick(self, number: int) -> tuple[str, list[Claim], InFlow | None]:
        id = sorted(self.held)[number % len(self.held)]
        claims = self.held[id]
        job = claims[0].job
        return id, claims, InFlow(job.flow_id, job.flow_name, job.name) if job.flow_id else None

    def emits(self, some: list[tuple[str, str | None, bool, bytes]]) -> list[Emit]:
        ordinals: dict[str, int] = {}
        made = []
        for trigger, key, starts, payload in some:
            name = "x" if starts else trigger
            ordinal = 0 if key is not None else ordinals.setdefault(f"{starts}{name}", 0)
            if key is None:
                ordinals[f"{starts}{name}"] += 1
            made.append(Emit(name, payload, key, ordinal, starts=starts))
        return made

    def end(self, number: int, to: Any, some: list[Any], **options: Any) -> None:
        self.number()
        id, claims, place = self.pick(number)
        job = claims[0].job
        emits = self.emits(some)
        if place is None and (emits or to == "failed"):
            place = InFlow(own_flow_id(job.queue, job.id, job.created_at), None, job.name, options.get("counts", True))
        elif place is not None:
            place = InFlow(place.id, place.name, place.step, options.get("counts", True))
        unmatched = []
        for backend, one in zip(self.backends, claims, strict=True):
            settlement = Settlement(lease(one), to, flow=place)
            if to == "completed":
                settlement.result = b'{"ok":true}'
                settlement.emits = (*emits, Emit(f"step:{job.name}", b'{"ok":true}', implied=True)) if place else ()
            else:
                settlement.error = ERROR
                if to == "failed":
                    settlement.emits = (Emit(f"step:{job.name}:failed", b"{}", implied=True),)
            assert self.runner.run(backend.settle([settlement])) == [True]
            unmatched.append(settlement.unmatched)
        self.same(unmatched)
        del self.held[id]

    @precondition(lambda self: self.held)
    @rule(number=which, some=st.lists(some_emit, max_size=4))
    def complete(self, number: int, some: list[Any]) -> None:
        self.end(number, "completed", some)

    @precondition(lambda self: self.held)
    @rule(number=which, counts=st.booleans())
    def fail(self, number: int, counts: bool) -> None:
        self.end(number, "failed", [], counts=counts)

    @precondition(lambda self: self.held)
    @rule(number=which)
    def come_back(self, number: int) -> None:
        self.end(number, "waiting", [])

    @precondition(lambda self: self.held)
    @rule(number=which, some=st.lists(some_emit, min_size=1, max_size=2))
    def emit_at_once(self, number: int, some: list[Any]) -> None:
        self.number()
        _, claims, place = self.pick(number)
        job = claims[0].job
        where = place or InFlow(own_flow_id(job.queue, job.id, job.created_at), None, job.name)
        emits = self.emits(some)
        self.same(
            [
                self.runner.run(backend.emit(lease(one), where, 1, emits))
                for backend, one in zip(self.backends, claims, strict=True)
            ]
        )
        for one in claims:
            one.job.flow_id, one.job.flow_name = where.id, where.name

    @precondition(lambda self: self.held)
    @rule(number=which)
    def tell(self, number: int) -> None:
        self.number()
        _, claims, place = self.pick(number)
        if place is not None:
            for backend, one in zip(self.backends, claims, strict=True):
                self.runner.run(backend.happened([Happening(lease(one), place, "step.started", 1)]))

    @precondition(lambda self: self.known)
    @rule(number=which, how=st.sampled_from(["cancel", "remove", "retry"]))
    def steer(self, number: int, how: str) -> None:
        self.number()
        id = self.known[number % len(self.known)]
        if id in self.held:
            return  # what is asked of a running job comes with its next renewal
        self.everywhere(lambda backend: getattr(backend, how)("default", id))

    def some_flow(self, number: int) -> str | None:
        flows, _ = self.runner.run(self.backends[0].flows(limit=1_000))
        return flows[number % len(flows)].id if flows else None

    @rule(number=which, how=st.sampled_from(["cancel_flow", "reopen_flow"]))
    def steer_flow(self, number: int, how: str) -> None:
        self.number()
        id = self.some_flow(number)
        if id is not None:
            self.everywhere(lambda backend: getattr(backend, how)(id))

    @rule()
    def sweep(self) -> None:
        self.number()
        self.everywhere(lambda backend: backend.sweep_flows(None, 0))

    # What must be the same -----------------------------------------------------------------------------------------

    @invariant()
    def flows_are_the_same(self) -> None:
        self.everywhere(_listed)

    def compare(self) -> None:
        """Look at all there is; once at the end, as it takes longer than all that happened."""
        for id in self.everywhere(_listed):
            self.everywhere(lambda backend, id=id: _events(backend, id))  # type: ignore[misc]
            self.everywhere(lambda backend, id=id: _jobs(backend, id))  # type: ignore[misc]
            self.everywhere(lambda backend, id=id: _children(backend, id))  # type: ignore[misc]


async def _listed(backend: Backend) -> list[Any]:
    flows, _ = await backend.flows(limit=1_000)
    return _Ids([(flow.id, flow) for flow in flows])


class _Ids(list[Any]):
    """Flows, compared whole; what one iterates over are their ids."""

    def __iter__(self) -> Any:
        return (id for id, _ in list.__iter__(self))


async def _events(backend: Backend, id: str) -> list[Any]:
    return [_told(event) for event in await backend.flow_events(id)]


def _told(event: FlowEvent) -> tuple[Any, ...]:
    data = json.loads(event.data) if event.data is not None else None
    place = (event.step, event.attempt, event.queue, event.job_id)
    return (event.n, event.ts, event.type, event.flow_name, place, data)


async def _jobs(backend: Backend, id: str) -> list[Any]:
    jobs = await backend.flow_jobs(id)
    return sorted((job.queue, job.id, job.name, job.state, job.data, job.flow_name or "") for job in jobs)


async def _children(backend: Backend, id: str) -> list[str]:
    return [flow.id for flow in await backend.flow_children(id)]


@pytest.mark.timeout(300)
def test_all_stores_come_to_the_same() -> None:
    run_state_machine_as_test(Flows, settings=settings(max_examples=12, stateful_step_count=25, deadline=None))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_stores_come_to_the_same_in_many_lives() -> None:
    run_state_machine_as_test(Flows, settings=settings(max_examples=400, stateful_step_count=40, deadline=None))
