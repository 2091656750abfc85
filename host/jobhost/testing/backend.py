"""The memory backend, which also remembers what was emitted: what is delivered leaves no trace of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ..queues.admission import Admission
from ..queues.clock import Clock
from ..queues.flows import Emit, InFlow
from ..queues.job import Lease, Rate, Settlement
from ..queues.limits import Limits
from ..queues.memory import MemoryBackend
from ..queues.seam import Claimed
from .emits import Emitted

T = TypeVar("T")


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The answer of a call that never waits, as none of the memory backend does: no event loop is needed."""
    try:
        call.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    call.close()
    raise AssertionError("this call waits")


class RecordingBackend(MemoryBackend):
    """`emits`: of runs that have succeeded, and immediate ones, in their order, each once."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.emits: dict[str, Emitted] = {}
        self.ended = 0
        """Ends of runs so far."""
        self.on_ended: Callable[[], None] | None = None
        self._serving = False

    def serve(self, serving: bool) -> None:
        """Whether jobs may be claimed: between two calls of a test nothing begins."""
        self._serving = serving
        if serving:
            self._feed.wake(self._feed.watched)

    async def claim(
        self,
        queue: str,
        limit: int,
        admission: Admission,
        lease_ms: int,
        host: str,
        rate: Rate | None = None,
        limits: Limits | None = None,
    ) -> Claimed:
        if not self._serving:
            return Claimed([], None, False)
        return await super().claim(queue, limit, admission, lease_ms, host, rate, limits)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        held = await super().settle(settlements)
        self.ended += len(settlements)
        if self.on_ended is not None:
            self.on_ended()
        for settlement, ok in zip(settlements, held, strict=True):
            if ok and settlement.emits:
                self._record(settlement.lease, settlement.emits)
        return held

    async def emit(self, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
        unmatched = await super().emit(lease, place, attempt, emits)
        self._record(lease, emits)
        return unmatched

    def _record(self, lease: Lease, emits: Sequence[Emit]) -> None:
        found = self._find(lease.queue, lease.id)
        if found is None:
            return  # not kept: `keep_completed = 0`
        job = found[1]
        for emit in emits:
            if not emit.implied:
                to = [] if emit.starts else [each.handler for each in self._flows.subscribers(emit.trigger)]
                id = emit.id(job.queue, job.id, job.created_at)
                self.emits.setdefault(id, Emitted.of(emit, job, to))
