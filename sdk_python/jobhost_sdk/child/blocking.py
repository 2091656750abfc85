"""The loop of a child whose handlers are all synchronous: no asyncio, one run at a time, on the main thread.

While a handler runs nobody reads the wire, unless the handler calls `ctx`, which reads until its answer is there, or the
host sends SIGURG after a `cancel`.
"""

from __future__ import annotations

from ..errors import ProtocolError, RunNotLiveError, StateLimitError, call_error
from .channel import Waiter
from .runs import Run
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..wire import Request
    from .channel import Channel

MOST_REQUESTS = 1000
"""Requests of this child that may be unanswered; the protocol allows 1,024, and one more would be a violation."""

BATCH = 8
"""Frames joined into one write while runs wait. More only makes host and child take turns."""


class Answer(Waiter):
    """Waits for the answer to one call of `ctx`."""

    def __init__(self) -> None:
        super().__init__()
        self.error: dict[str, Any] | None = None
        self.result: Any = None

    def settle(self, error: dict[str, Any] | None, result: Any) -> None:
        self.error = error
        self.result = result
        self.done = True
        self.wake()


class Room(Waiter):
    """Waits until another request may be sent."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    @property
    def done(self) -> bool:  # type: ignore[override]
        return self._channel.peer.pending < MOST_REQUESTS


def blocking_call(run: Run, method: str, params: dict[str, Any]) -> Any:
    """Ask the host and wait, from any thread. Raises the CallError it answered with."""
    channel = run.session.channel
    if not run.live or channel.abandoned:
        raise RunNotLiveError(f"{method}: this run has ended, or is that of another process")
    if channel.peer.pending >= MOST_REQUESTS:
        channel.read_until(Room(channel))
    params["run"] = run.token
    answer = Answer()
    try:
        channel.request(method, params, answer)
    except ProtocolError as error:
        raise StateLimitError(f"{method}: {error}") from None
    channel.flush()
    channel.read_until(answer)
    if answer.error is not None:
        raise call_error(answer.error)
    return answer.result


class SyncRun(Run):
    """A run of a synchronous handler."""

    __slots__ = ()

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """As `SyncPort.call`."""
        return blocking_call(self, method, params)


class Todo(Waiter):
    """Runs and requests that wait for the main thread."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Run | Request] = []

    @property
    def done(self) -> bool:  # type: ignore[override]
        return bool(self.items)

    def add(self, item: Run | Request) -> None:
        self.items.append(item)
        self.wake()

    def take(self) -> Run | Request | None:
        try:
            return self.items.pop(0)
        except IndexError:  # a cancel took it back in between
            return None

    def withdraw(self, run: Run) -> bool:
        try:
            self.items.remove(run)
        except ValueError:
            return False
        return True


class Blocking(Session):
    """See the module."""

    run_types = {"sync": SyncRun}  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.todo = Todo()

    def begin(self, run: Run) -> None:
        self.todo.add(run)

    def later(self, request: Request) -> None:
        self.todo.add(request)

    def interrupt(self, run: Run) -> None:
        """`ctx.cancelled` is true now; a synchronous handler is not torn from what it does."""

    def withdraw(self, run: Run) -> bool:
        return self.todo.withdraw(run)

    def kick(self) -> None:
        """Send at once, unless more results follow soon: one write for each wakes the host for each (measured: half
        the throughput of no-ops). What then lingers behind a slow handler is sent by the watcher."""
        if self.linger is not None and self.todo.items and self.channel.waiting < BATCH:
            self.linger()
        else:
            self.channel.flush(wait=False)

    def run(self) -> None:
        """Serve until `shutdown` is answered."""
        while not self.done:
            if not self.todo.items:
                self.channel.flush()
                self.channel.read_until(self.todo)
            item = self.todo.take()
            if isinstance(item, Run):
                self.run_sync(item)
                if self.channel.congested:
                    self.channel.flush()
            elif item is not None:
                self.serve(item)
        self.channel.flush()
