"""The thread of one hook, and its place in the line of them.

Each hook has a thread of its own, that makes its object and makes all its calls: one at a time, in the order of the events. An
event goes from one hook to the next once the first is done with it, so all hear of it in the order they were given.

A call that takes longer than the limit is said, and left: what waits behind it goes on to the next hook, and its own hook
misses what comes until the call returns. It is never called twice at once.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from jobhost_sdk.errors import RetryLater, UnrecoverableError

from ..hooks import Calls, Hook, JobEvent, Kind

LIMIT = 30.0
"""Seconds that one call may take."""

Say = Callable[..., None]
"""Writes to the host's log, from any thread: `(level, event, **fields)`."""


class Told:
    """An event on its way along the line. `done` is called once, on any thread, at the end of it: with what `before` raised, or None."""

    __slots__ = ("_event", "_make", "done", "kind", "size")

    def __init__(
        self, kind: Kind, make: Callable[[], JobEvent], done: Callable[[Told, Exception | None], None], size: int
    ) -> None:
        self.kind = kind
        self.size = size
        self.done = done
        self._make = make
        self._event: JobEvent | None = None

    def event(self) -> JobEvent:
        """Made by the first hook that wants it: to read the user's values is not the dispatcher's work."""
        if self._event is None:
            self._event = self._make()
        return self._event


class HookThread:
    """One hook. `next`: the one behind it."""

    def __init__(self, hook: Hook, say: Say) -> None:
        self.hook = hook
        self.next: HookThread | None = None
        self._say = say
        self._calls: Calls = {}
        self._changed = threading.Condition()
        self._inbox: deque[Told] = deque()
        self._urgent: deque[Told] = deque()
        """Runs wait for these."""
        self._current: Told | None = None
        self._began = 0.0
        self._stuck = False
        self._missed = 0
        self._ending = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # Its life -----------------------------------------------------------------------------------------------------

    def start(self, made: Callable[[Exception | None], None]) -> None:
        """Start the thread; `made` is called on it once the hook is there, or with why it is not."""
        self._thread = threading.Thread(target=self._run, args=(made,), name=f"hook-{self.hook.name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Make no more calls. One that is under way is left to itself."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait for its end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, made: Callable[[Exception | None], None]) -> None:
        try:
            self._calls, close = self.hook.make()
        except Exception as error:  # noqa: BLE001 - the constructor is the user's code
            made(error)
            return
        made(None)
        while (told := self._take()) is not None:
            self._handle(told)
        try:
            if inspect.isawaitable(given := close()):
                self._wait_for(given)
        except Exception as error:  # noqa: BLE001 - the user's code
            self._say(
                "error", "hook.failed", hook=self.hook.name, kind="close", error=f"{type(error).__name__}: {error}"
            )
        if self._loop is not None:
            self._loop.close()

    def _take(self) -> Told | None:
        with self._changed:
            while not self._ending and not self._urgent and not self._inbox:
                self._changed.wait()
            if self._ending:
                return None
            self._current = self._urgent.popleft() if self._urgent else self._inbox.popleft()
            self._began = time.monotonic()
            return self._current

    # Events -------------------------------------------------------------------------------------------------------

    def put(self, told: Told) -> None:
        """Take an event, from any thread."""
        with self._changed:
            if self._stuck:
                self._missed += told.kind in self.hook.kinds
                self._pass_on(told, None)
            else:
                (self._urgent if told.kind == "before" else self._inbox).append(told)
                self._changed.notify()

    def _handle(self, told: Told) -> None:
        call = self._calls.get(told.kind)
        refusal = None if call is None else self._called(call, told)
        with self._changed:
            left, self._current = self._current is not told, None
            if self._stuck:
                self._stuck = False
                self._say("warning", "hook.returned", hook=self.hook.name, missed=self._missed)
                self._missed = 0
            if not left:
                self._pass_on(told, refusal)

    def _pass_on(self, told: Told, refusal: Exception | None) -> None:
        if self.next is None or refusal is not None:
            told.done(told, refusal)
        else:
            self.next.put(told)

    def _called(self, call: Callable[[JobEvent], Any], told: Told) -> Exception | None:
        """Make one call. Gives the error with which `before` refuses the run; any other is said and changes nothing."""
        try:
            given = call(told.event())
            if inspect.isawaitable(given):
                self._wait_for(given)
        except BaseException as error:  # noqa: BLE001 - the user's code; SystemExit would end the thread unheard
            if told.kind == "before" and isinstance(error, (UnrecoverableError, RetryLater)):
                return error
            if isinstance(error, TimeoutError) and time.monotonic() - self._began >= LIMIT:
                self._say_late(told)
            else:
                text = f"{type(error).__name__}: {error}"
                self._say("error", "hook.failed", **self._named(told), error=text)
        return None

    def _wait_for(self, given: Any) -> None:
        """Run what an asynchronous hook gave on a loop of this thread, which runs only meanwhile."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(asyncio.wait_for(given, LIMIT))

    # Too long -----------------------------------------------------------------------------------------------------

    def leave(self, now: float) -> None:
        """Leave a call that is over the limit, and let what waits go on without it."""
        # An asynchronous one is cancelled at the limit; the second is for that.
        with self._changed:
            told = self._current
            if told is None or self._stuck or now - self._began < LIMIT + 1:
                return
            self._say_late(told)
            self._stuck = True
            behind = [*self._urgent, *self._inbox]
            self._urgent.clear()
            self._inbox.clear()
            self._current = None
            self._missed = sum(one.kind in self.hook.kinds for one in behind)
            for one in (told, *behind):
                self._pass_on(one, None)

    def _say_late(self, told: Told) -> None:
        self._say("error", "hook.timed_out", **self._named(told), limit_s=LIMIT)

    def _named(self, told: Told) -> dict[str, Any]:
        event = told.event()
        return {"hook": self.hook.name, "kind": told.kind, "queue": event.queue, "job_id": event.id}
