"""Lets a host work until nothing is left to do, or until its clock shows some time.

While a handler runs time is real: it may talk to others, who know nothing of our clock. When none runs the clock leaps to what comes
due next: a delayed job, a retry, a schedule. With `advance` the test itself says that time passes: then the clock leaps from timer to
timer while handlers sleep too, and waits only for their sockets and threads.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any

from ..dispatch.host import Host
from ..errors import JobhostError
from .backend import RecordingBackend, at_once
from .loop import VirtualLoop, whole_ms

SOON = 0.05
"""Seconds that runs may take before the host begins what goes by the clock: most tests are over by then, and it is half of their cost."""
PATIENCE = 60.0
"""Seconds of real time that `run_until_idle` may take: a handler that hangs must not hang the test until its timeout of an hour."""
MOST_ENDS = 100_000
"""Runs that one call lets end: steps of flows that emit in a circle would never leave it."""


class Course:
    """One call of `run_until_idle` or, with `leaping`, of `advance`. `until`: the time (Unix ms) that is not passed."""

    def __init__(self, loop: VirtualLoop, host: Host, backend: RecordingBackend, until: int, leaping: bool) -> None:
        self._loop = loop
        self._patience = time.monotonic() + PATIENCE
        self._overdue = False
        self._host = host
        self._backend = backend
        self._until = until
        self._leaping = leaping
        self._last = backend.ended + MOST_ENDS
        self._tasks: set[Any] = set()

    def run(self) -> None:
        """Raises JobhostError if a run takes too long, or the runs never come to an end."""
        self._loop.on_quiet = self._quiet
        soon = self._loop.call_later(SOON, self._host.tend)
        self._backend.on_ended = self._ended
        self._backend.serve(True)
        try:
            self._loop.run_forever()
        finally:
            self._backend.serve(False)
            self._loop.on_quiet = self._backend.on_ended = None
            soon.cancel()
        if self._overdue:
            runs = [live.job for worker in self._host.workers.values() for live in worker.live.values()]
            names = ", ".join(f"{job.name} {job.id}" for job in runs)
            raise JobhostError(
                f"still running after {PATIENCE:g} s: {names}; advance() lets time pass for what sleeps or hangs"
            )
        if self._backend.ended >= self._last:
            raise JobhostError(f"{MOST_ENDS:,} runs ended and there are more: do steps of a flow emit in a circle?")

    def _ended(self) -> None:
        if self._backend.ended >= self._last:
            self._loop.stop()

    def _quiet(self, timeout: float | None) -> bool:
        """Nothing is to be done now: move the clock or stop, or let the loop wait for real."""
        host = self._host
        if not host.journal.empty:
            self._spawn(host.journal.flush())
        elif not host.all_loaded:
            return False  # children of a bundle are starting
        elif any(worker.live for worker in host.workers.values()):
            return self._while_running(timeout)
        else:
            self._loop.rested()
            self._go_on(timeout)
        return True

    def _go_on(self, timeout: float | None) -> None:
        """Nothing runs: to what comes due next, or to the end."""
        due = self._next_due()
        if due is None or due > self._until:
            self._end()
        elif due > self._host.clock():
            self._pass(due - self._host.clock())
        else:
            self._step(timeout)  # what looks after it has a timer

    def _while_running(self, timeout: float | None) -> bool:
        if self._leaping and not self._blocking() and not self._loop.waits_for_others:
            self._step(timeout)
            return True
        self._overdue = time.monotonic() > self._patience
        if self._overdue:
            self._loop.stop()
        return self._overdue

    def _blocking(self) -> bool:
        """Whether a handler runs in a thread."""
        return any(live.entry.kind == "sync" for worker in self._host.workers.values() for live in worker.live.values())

    @property
    def _left(self) -> int:
        return max(0, self._until - self._host.clock())

    def _step(self, timeout: float | None) -> None:
        """To the next timer, but not too far."""
        if self._left == 0:
            self._loop.stop()
        else:
            self._pass(self._left if timeout is None else min(self._left, whole_ms(timeout)))

    def _end(self) -> None:
        """Nothing comes due before the end; `advance` lets the clock show it."""
        if self._leaping and self._left:
            self._pass(self._left)
        else:
            self._loop.stop()

    def _pass(self, ms: int) -> None:
        """Let time pass; what goes by the clock begins before."""
        if self._host.tended:
            self._loop.now += ms
        else:
            self._host.tend()

    def _next_due(self) -> int | None:
        """When (Unix ms) something comes due."""
        due, following = at_once(self._backend.due_schedules(1))
        dues = [following, *(one.due for one in due)]
        dues += [worker.next_due for worker in self._host.workers.values() if not worker.paused]
        return min((one for one in dues if one is not None), default=None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
