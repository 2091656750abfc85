"""The hooks of a host: told what becomes of its jobs, in the order given, and asked before each run where they want to be.

What is promised: while the host lives, each hook hears of each event of a job, in order; of a job's end only after it is written.
`before` alone is asked ahead of what waits, as a run waits for it. A host that is killed between the end and the call takes that
call with it. What a hook raises is logged and changes nothing, but for `UnrecoverableError` and `RetryLater` raised by `before`:
with them a run is refused.

A slow hook holds up neither the dispatcher nor leases (see `hook_thread.py`). When hooks fall behind by so many events, or so many
bytes of them, the host claims no more jobs until they have caught up with half of it: none is dropped. A hook that hangs misses
events, which are counted in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jobhost_runtimes.run import Ending, Outcome, Run, host_error
from jobhost_sdk.errors import RetryLater

from ..errors import BackendUnavailableError, ConfigurationError
from ..hooks import Hook, JobEvent, Kind
from ..listings import value
from ..queues.job import Job, Settlement
from .hook_thread import LIMIT, HookThread, Told
from .job_events import event_of, now_ms, size_of, was_run
from .live import Live

if TYPE_CHECKING:
    from .host import Host

MOST = 10_000
"""Events that may wait for hooks."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of the jobs' data and results among them."""
PATIENCE = 10.0
"""Seconds that a host which stops waits for hooks that are behind; 1 when it is to stop now."""
CLOSING = 1.0
"""Seconds for the `close` of a hook."""
WATCH = 1.0
"""Seconds between looks for calls that take too long."""

ENDS: dict[str, Kind] = {"completed": "completed", "failed": "failed"}


class Hooks:
    """One a host that has any. Methods are called on the host's loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._threads: list[HookThread] = []
        self._wanted: frozenset[Kind] = frozenset()
        self._running = False
        self._lock = threading.Lock()
        self._waiting = 0
        self._bytes = 0
        self._gated: dict[str, Run] = {}
        """Runs that wait for `before`, by token."""
        self._coming_back: dict[tuple[str, str], tuple[Job, Settlement]] = {}
        """Retries on their way to the backend: the job may be claimed again before the backend's answer is heard here."""
        self._looks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self.behind = False
        """The host is to claim nothing."""

    # Its life -----------------------------------------------------------------------------------------------------

    def add(self, hook: Hook) -> None:
        """Put a hook at the end of the line."""
        thread = HookThread(hook, self._say)
        if self._threads:
            self._threads[-1].next = thread
        self._threads.append(thread)
        self._wanted |= hook.kinds
        if self._running:
            thread.start(lambda error: self._added(hook, error))

    def _added(self, hook: Hook, error: Exception | None) -> None:
        if error is not None:
            self._say("error", "hook.failed", hook=hook.name, kind="made", error=f"{type(error).__name__}: {error}")

    async def start(self, configured: Sequence[Hook] = ()) -> None:
        """Make the hooks, those of the file in front. Raises ConfigurationError where one can't be made."""
        self.open()
        self._running = False  # those that are there now are made below, and waited for
        later, self._threads = [thread.hook for thread in self._threads], []
        for hook in (*configured, *later):
            self.add(hook)
        self._running = True
        await asyncio.gather(*(self._made(thread) for thread in self._threads))

    def open(self) -> None:
        """Hooks that are added from now on are made at once."""
        self._loop = asyncio.get_running_loop()
        self._running = True
        self._host.spawn(self._watch())

    async def _made(self, thread: HookThread) -> None:
        made: asyncio.Future[Exception | None] = self._loop.create_future()
        thread.start(lambda error: self._soon(lambda: None if made.done() else made.set_result(error)))
        try:
            async with asyncio.timeout(LIMIT):
                error = await made
        except TimeoutError:
            raise ConfigurationError(f"hook {thread.hook.name} was not made within {LIMIT:g} s") from None
        if error is not None:
            text = f"hook {thread.hook.name} can't be made: {type(error).__name__}: {error}"
            raise ConfigurationError(text) from error

    async def close(self, now: bool = False) -> None:
        """Let the hooks have what is left, within the patience; what they do not get is counted in the log."""
        if self._running:
            if self._looks:
                await asyncio.wait(self._looks, timeout=CLOSING)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0 if now else PATIENCE):
                    while self._waiting:
                        self._idle.clear()
                        await self._idle.wait()
            if self._waiting:
                self._host.log.error("hooks.lost", events=self._waiting, hint="their hooks were behind or hung")
        self.end()
        await asyncio.gather(*(asyncio.to_thread(thread.join, CLOSING) for thread in self._threads))

    def end(self) -> None:
        """Make no more calls."""
        self._running = False
        for thread in self._threads:
            thread.end()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH)
            for thread in self._threads:
                thread.leave(time.monotonic())

    # A run's life -------------------------------------------------------------------------------------------------

    def begin(self, live: Live, run: Run, submit: Callable[[Run], None]) -> None:
        """Start a run, or let it wait for `before`."""
        job, last = live.job, self._coming_back.pop((live.job.queue, live.job.id), None)
        if last is not None and job.attempts_made > last[0].attempts_made:
            self._ended_for(*last)
        if "before" not in self._wanted:
            self._started(live)
            submit(run)
            return
        self._gated[run.token] = run
        self._host.asked += 1  # it takes a place that its runtime does not know of yet

        def answered(told: Told, refusal: Exception | None) -> None:
            self._done(told, None)
            self._soon(lambda: self._answered(live, run, submit, refusal))

        self._tell("before", lambda: event_of(self._host.id, "before", live.job, True), len(live.job.data), answered)

    def _answered(self, live: Live, run: Run, submit: Callable[[Run], None], refusal: Exception | None) -> None:
        self._host.asked -= 1
        if self._gated.pop(run.token, None) is None:
            return  # it was stopped meanwhile
        if refusal is not None:
            error = host_error(type(refusal).__name__, str(refusal))
            run.end(Outcome(Ending.RAISED, error=error, retry=_delay(refusal)))
            return
        self._started(live)
        submit(run)

    def _started(self, live: Live) -> None:
        if "started" in self._wanted:
            self._tell("started", lambda: event_of(self._host.id, "started", live.job, True), len(live.job.data))

    def stop(self, run: Run, reason: str) -> bool:
        """End a run that waits for `before`; False if it doesn't."""
        if self._gated.pop(run.token, None) is None:
            return False
        run.end(Outcome(Ending.CANCELLED, reason=reason))
        return True

    def hand_back(self) -> None:
        """The host stops: runs that wait for `before` do not begin."""
        for run in list(self._gated.values()):
            self.stop(run, "shutdown")

    def ended(self, live: Live, outcome: Outcome) -> None:
        """A run is over; what becomes of its job is not decided yet."""
        if "after" not in self._wanted:
            return
        now = now_ms()

        def make() -> JobEvent:
            told = {"result": value(outcome.result), "error": outcome.error, "outcome": outcome.ending.value}
            return event_of(self._host.id, "after", live.job, True, now, **told)

        self._tell("after", make, size_of(live.job, outcome.result))

    def settling(self, job: Job, decided: Settlement) -> None:
        """The end of a claim is on its way to the backend."""
        if self._may_be_cancelled(decided):
            self._coming_back[job.queue, job.id] = (job, decided)

    def settled(self, job: Job, decided: Settlement, held: bool) -> None:
        """The end of a claim is written, or was refused."""
        if not self._may_be_cancelled(decided):
            if held:
                self._ended_for(job, decided)
        elif held:
            look = self._host.spawn(self._look(job, decided))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
        else:
            self._took(job, decided)

    def _may_be_cancelled(self, decided: Settlement) -> bool:
        """Whether the job is to come back: where somebody asked for its cancel meanwhile the backend has ended it instead."""
        return decided.to not in ENDS and not decided.released and not self._wanted.isdisjoint(("failed", "retried"))

    async def _look(self, job: Job, decided: Settlement) -> None:
        """Tell what has become of a job that was to come back."""
        try:
            found = await self._host.backend.get(job.queue, job.id)
        except BackendUnavailableError as error:
            self._host.backend_trouble(error)
            found = None
        if not self._took(job, decided):
            return  # told when it was claimed again
        if found is not None and found.state == "failed" and found.attempts_made <= job.attempts_made + 1:
            self._ended_for(job, Settlement(decided.lease, "failed", error=found.error, flow=decided.flow))
        else:
            self._ended_for(job, decided)

    def _took(self, job: Job, decided: Settlement) -> bool:
        """Take a job from those that are coming back; False if that was done."""
        last = self._coming_back.get((job.queue, job.id))
        if last is None or last[1] is not decided:
            return False
        del self._coming_back[job.queue, job.id]
        return True

    def _ended_for(self, job: Job, decided: Settlement) -> None:
        kind = ENDS.get(decided.to) or ("retried" if decided.error is not None else None)
        if kind is None or kind not in self._wanted:
            return
        now = now_ms()

        def make() -> JobEvent:
            error = value(decided.error)
            flow = {} if decided.flow is None else {"flow_id": decided.flow.id, "flow_name": decided.flow.name}
            told = {"result": value(decided.result), "error": error, "delay_ms": decided.delay_ms, **flow}
            return event_of(self._host.id, kind, job, was_run(error), now, **told)

        self._tell(kind, make, size_of(job, decided.result))

    async def stalled(self, queue: str, ids: Sequence[str]) -> None:
        """Jobs whose hosts died have failed."""
        if "failed" not in self._wanted:
            return
        for id in ids:
            try:
                job = await self._host.backend.get(queue, id)
            except BackendUnavailableError as error:
                self._host.backend_trouble(error)
                job = None
            if job is None:  # pruned at once, or out of reach: its end is told all the same
                error_text = b'{"type":"StalledError","message":"its hosts died","stack":"","origin":"host"}'
                job = Job(id, queue, "", b"null", "failed", 0, now_ms(), error=error_text)
            self._tell("failed", self._stalled_event(job), len(job.data))

    def _stalled_event(self, job: Job) -> Callable[[], JobEvent]:
        now = job.finished_at or now_ms()
        return lambda: event_of(self._host.id, "failed", job, False, now, error=value(job.error))

    # Telling ------------------------------------------------------------------------------------------------------

    def _tell(
        self,
        kind: Kind,
        make: Callable[[], JobEvent],
        size: int,
        done: Callable[[Told, Exception | None], None] | None = None,
    ) -> None:
        with self._lock:
            self._waiting += 1
            self._bytes += size
            full = self._waiting >= MOST or self._bytes >= MOST_BYTES
        if full and not self.behind:
            self.behind = True
            self._host.log.warning("hooks.behind", events=self._waiting, hint="no jobs are claimed until they catch up")
        self._threads[0].put(Told(kind, make, done or self._done, size))

    def _done(self, told: Told, _refusal: Exception | None) -> None:
        """All hooks have had an event. On any thread."""
        with self._lock:
            self._waiting -= 1
            self._bytes -= told.size
            few = self._waiting <= MOST // 2 and self._bytes <= MOST_BYTES // 2
            none = not self._waiting
        if few and self.behind:
            self._soon(self._caught_up)
        if none:
            self._soon(self._idle.set)

    def _caught_up(self) -> None:
        if self.behind:
            self.behind = False
            self._host.log.info("hooks.caught_up")
            self._host.poke_all()

    def _soon(self, call: Callable[[], object]) -> None:
        """Call on the host's loop, from any thread; not any more once that has closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def _say(self, level: str, event: str, **fields: Any) -> None:
        self._soon(lambda: getattr(self._host.log, level)(event, **fields))


def _delay(refusal: Exception) -> int | bool:
    return refusal.delay_ms if isinstance(refusal, RetryLater) else False
