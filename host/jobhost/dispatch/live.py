"""A live run from the host's side: its claim, its handler, and what is still allowed to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobhost_runtimes.run import Run

from ..catalogue import Entry
from ..config.policy import Policy
from ..queues.flows import Emit, InFlow
from ..queues.job import Job, Lease


@dataclass(slots=True, eq=False)
class Live:
    """Hangs at `Run.tag`."""

    job: Job
    lease: Lease
    entry: Entry
    policy: Policy
    run: Run | None = None
    lost: bool = False
    delay_until: int | None = None
    """Where its handler has moved the job to; counts if the run ends with BullMQ's `DelayedError`. Unix ms."""
    left: bool = False
    """Its handler has let the job wait for its children: it is this run's no more."""

    place: InFlow | None = None
    """Its place in a flow, if it is part of one."""
    max_payload: int = 1 << 20
    """Bytes of what it may emit at once."""
    emits: list[Emit] = field(default_factory=list)
    emitted: int = 0
    emitted_bytes: int = 0
    _ordinals: dict[str, int] | None = None

    def ordinal(self, trigger: str, key: str | None) -> int:
        """The number of an emit without a key among those of its trigger: 0, 1, …"""
        if key is not None:
            return 0
        if self._ordinals is None:
            self._ordinals = {}
        number = self._ordinals.get(trigger, 0)
        self._ordinals[trigger] = number + 1
        return number
