"""Random lives of a queue: every backend does what the plain model does, step by step."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from jobhost.errors import JobActiveError
from jobhost.queues.admission import Admission
from jobhost.queues.job import STATES, Claim, Keep, Lease, NewJob, Settlement
from jobhost.queues.seam import Backend

from .backends import STORES, TurnedClock
from .queue_model import Model

SAME = ("memory", "sqlite", "postgres")
"""Stores that keep one order; BullMQ has its own places in the line, and numbers of its own."""
LEASE = 100
NAMES = ("a", "b", "c")
some_id = st.sampled_from([str(n) for n in range(1, 9)] + ["x", "y"])


class Queues(RuleBasedStateMachine):
    """All backends and the model, doing the same."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.model = Model(self.clock.now)
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.backends: list[Backend] = [STORES[kind](self.folder, self.clock)() for kind in SAME]
        self.claims: list[tuple[str, int, list[Claim]]] = []
        """Claims that were given: job, the model's number, and the claim at each backend. Old ones stay, to be refused."""

    @initialize()
    def open(self) -> None:
        self.everywhere(lambda backend: backend.open())

    def teardown(self) -> None:
        self.everywhere(lambda backend: backend.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def everywhere(self, do: Callable[[Backend], Coroutine[Any, Any, Any]]) -> Any:
        """Do the same at every backend, see that it has the same outcome, and give it."""
        outcomes = [self.runner.run(do(backend)) for backend in self.backends]
        assert all(outcome == outcomes[0] for outcome in outcomes), outcomes
        return outcomes[0]

    def tick(self, ms: int = 1) -> None:
        """Also called wherever jobs finish: which of two that finished in one millisecond is older is left open."""
        self.clock.advance(ms)
        self.model.now = self.clock.now

    @rule(
        name=st.sampled_from(NAMES),
        id=st.none() | some_id,
        priority=st.sampled_from([0, 0, 1, 2]),
        lifo=st.booleans(),
        delay=st.sampled_from([0, 0, 50]),
    )
    def add(self, name: str, id: str | None, priority: int, lifo: bool, delay: int) -> None:
        new = NewJob(name, id=id, priority=priority, lifo=lifo, delay_ms=delay)
        [added] = self.everywhere(lambda backend: backend.add([new]))
        assert (added.id, added.created) == self.model.add(name, id, priority, lifo, delay)

    @rule(limit=st.integers(1, 4), free=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2)))
    def claim(self, limit: int, free: dict[str, int]) -> None:
        claimed = []
        for backend in self.backends:
            admission = Admission([([name], places) for name, places in free.items()])
            claimed.append(self.runner.run(backend.claim("default", limit, admission, LEASE, "h")).claims)
        expected = self.model.claim(limit, dict(free), LEASE)
        assert [[one.job.id for one in claims] for claims in claimed] == [expected] * len(self.backends)
        for n, id in enumerate(expected):
            self.claims.append((id, self.model.last_claim, [claims[n] for claims in claimed]))

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        to=st.sampled_from(["completed", "failed", "delayed", "waiting"]),
        used=st.booleans(),
        keep=st.none() | st.integers(0, 3),
    )
    def settle(self, data: st.DataObject, to: Any, used: bool, keep: int | None) -> None:
        id, number, claims = data.draw(st.sampled_from(self.claims))
        expected = self.model.settle(id, number, to, 50, used, keep)
        for backend, one in zip(self.backends, claims, strict=True):
            lease = Lease("default", id, one.token)
            settlement = Settlement(lease, to, b"1", b"{}", 50, used, keep=Keep(count=keep))
            assert self.runner.run(backend.settle([settlement])) == [expected]
        self.tick()

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        id, number, claims = data.draw(st.sampled_from(self.claims))
        expected = self.model.renew(id, number, LEASE)
        for backend, one in zip(self.backends, claims, strict=True):
            assert self.runner.run(backend.renew([Lease("default", id, one.token)], LEASE)) == [expected]

    @rule(ms=st.sampled_from([1, 50, LEASE]))
    def let_time_pass(self, ms: int) -> None:
        self.tick(ms)

    @rule(most=st.integers(0, 2))
    def recover(self, most: int) -> None:
        recovered = [self.runner.run(backend.recover("default", most)) for backend in self.backends]
        waiting, failed = self.model.recover(most)
        for one in recovered:
            assert (sorted(one.waiting), sorted(one.failed)) == (sorted(waiting), sorted(failed))
        self.tick()

    @rule(id=some_id)
    def retry(self, id: str) -> None:
        assert self.everywhere(lambda backend: backend.retry("default", id)) == self.model.retry(id)

    @rule(id=some_id)
    def cancel(self, id: str) -> None:
        assert self.everywhere(lambda backend: backend.cancel("default", id)) == self.model.cancel(id)
        self.tick()

    @rule(id=some_id)
    def promote(self, id: str) -> None:
        assert self.everywhere(lambda backend: backend.promote("default", id)) == self.model.promote(id)

    @rule(id=some_id)
    def remove(self, id: str) -> None:
        async def remove(backend: Backend) -> bool | None:
            try:
                return await backend.remove("default", id)
            except JobActiveError:
                return None

        assert self.everywhere(remove) == self.model.remove(id)

    @rule(delayed=st.booleans())
    def drain(self, delayed: bool) -> None:
        assert self.everywhere(lambda backend: backend.drain("default", delayed)) == self.model.drain(delayed)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.model.paused = paused
        self.everywhere(lambda backend: backend.pause("default") if paused else backend.resume("default"))

    @invariant()
    def counts_agree(self) -> None:
        expected = {state: sum(job.state == state for job in self.model.jobs) for state in STATES}
        assert self.everywhere(lambda backend: backend.counts("default")) == expected

    @invariant()
    def jobs_agree(self) -> None:
        expected = [
            (job.id, job.state, job.attempts, job.stalled, job.cancel)
            for job in sorted(self.model.jobs, key=lambda job: -job.seq)
        ]
        jobs, _ = self.everywhere(lambda backend: backend.jobs("default", limit=1_000))
        assert [(job.id, job.state, job.attempts_made, job.stalled, job.cancel_requested) for job in jobs] == expected
        for job in jobs:
            assert (job.finished_at is not None) == (job.state in ("completed", "failed"))
            assert (job.delay_until is not None) == (job.state == "delayed")
            assert job.error is None or isinstance(json.loads(job.error), dict)


Queues.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestQueues = Queues.TestCase
