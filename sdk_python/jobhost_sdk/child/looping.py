"""The loop of a child that has asynchronous handlers: asyncio, a task for each run.

A synchronous handler of such a bundle runs with the loop stopped, so that it may use `asyncio.run` or block; runs that
are under way wait for it. That is why the host gives it the child to itself.
"""

from __future__ import annotations

import asyncio
from _thread import get_ident

from .. import output
from ..calling import is_async
from ..context import Context
from ..errors import ProtocolError, RunNotLiveError, StateLimitError, call_error
from ..wire import Request
from .blocking import MOST_REQUESTS, SyncRun, Todo
from .runs import Run
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..wire import Notification


class Reply:
    """Gives the answer to a call of `ctx` to the task that awaits it."""

    __slots__ = ("_future", "_session")

    def __init__(self, session: Looping, future: asyncio.Future[Any]) -> None:
        self._session = session
        self._future = future

    def settle(self, error: dict[str, Any] | None, result: Any) -> None:
        self._session.on_thread(self._resolve, error, result)

    def _resolve(self, error: dict[str, Any] | None, result: Any) -> None:
        self._session.request_done()
        if self._future.done():  # its task was cancelled meanwhile
            return
        if error is None:
            self._future.set_result(result)
        else:
            self._future.set_exception(call_error(error))


class AsyncRun(Run):
    """A run of an asynchronous handler."""

    __slots__ = ("task",)

    task: asyncio.Task[Any] | None

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """As `Port.call`."""
        if not self.live or self.session.channel.abandoned:
            raise RunNotLiveError(f"{method}: this run has ended, or is that of another process")
        session: Any = self.session
        params["run"] = self.token
        return await session.ask(method, params)


class Looping(Session):
    """See the module."""

    run_types = {"sync": SyncRun, "async": AsyncRun}  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.todo = Todo()
        self._thread = get_ident()
        self._flushing = False
        self._waiting: list[tuple[str, dict[str, Any], asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    # Between threads

    def on_thread(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call on the loop's thread, now if this is it."""
        if get_ident() == self._thread:
            call(*arguments)
        else:
            self.loop.call_soon_threadsafe(call, *arguments)

    def on_request(self, request: Request) -> None:
        self.on_thread(super().on_request, request)

    def on_notification(self, notification: Notification) -> None:
        self.on_thread(super().on_notification, notification)

    # Runs

    def begin(self, run: Run) -> None:
        if isinstance(run, AsyncRun):
            run.started = True
            before = output.current.set(run)
            run.task = self.loop.create_task(self._run(run))
            output.current.reset(before)
            self._tasks.add(run.task)
            run.task.add_done_callback(self._tasks.discard)
        else:
            self.todo.add(run)
            self.loop.stop()

    async def _run(self, run: AsyncRun) -> None:
        output.capture_logging(self.owner, self.options.max_log_line)
        try:
            job, ctx = self.prepared(run, Context)
            assert run.handler is not None
            result = await run.handler.call(job, ctx)
        except asyncio.CancelledError as error:
            if run.reason is not None:
                self.cancelled(run)
            else:
                self.fail(run, error)  # of the handler's own making: a failure like any other
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler fails the run, not the child
            self.fail(run, error)
        else:
            self.succeed(run, result)

    def later(self, request: Request) -> None:
        self.todo.add(request)
        self.loop.stop()

    def interrupt(self, run: Run) -> None:
        if isinstance(run, AsyncRun) and run.task is not None:
            run.task.cancel()

    def withdraw(self, run: Run) -> bool:
        return self.todo.withdraw(run)

    # Calls of ctx

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        future: asyncio.Future[Any] = self.loop.create_future()
        if self.channel.peer.pending >= MOST_REQUESTS:
            self._waiting.append((method, params, future))
        else:
            self._send_request(method, params, future)
        return await future

    def _send_request(self, method: str, params: dict[str, Any], future: asyncio.Future[Any]) -> None:
        try:
            self.channel.request(method, params, Reply(self, future))
        except ProtocolError as error:
            future.set_exception(StateLimitError(f"{method}: {error}"))
        else:
            self.kick()

    def request_done(self) -> None:
        """An answer came: there is room for another request."""
        while self._waiting and self.channel.peer.pending < MOST_REQUESTS:
            method, params, future = self._waiting.pop(0)
            if not future.done():
                self._send_request(method, params, future)

    # Bytes

    def on_urgent(self) -> None:
        super().on_urgent()
        # The signal may have come while the loop slept; it sleeps on, though what was read has given it work.
        self.loop.call_soon_threadsafe(_nothing)

    def kick(self) -> None:
        """Flush at the end of the loop's turn; at once while a synchronous handler has stopped the loop."""
        if not self.loop.is_running():
            self.channel.flush(wait=False)
        elif not self._flushing:
            self._flushing = True
            if get_ident() == self._thread:
                self.loop.call_soon(self._flush)
            else:
                self.loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.channel.flush(wait=False)
        if self.channel.unsent:
            self.loop.add_writer(self.channel.fd_out, self._flush_more)

    def _flush_more(self) -> None:
        self.channel.flush(wait=False)
        if not self.channel.unsent:
            self.loop.remove_writer(self.channel.fd_out)

    def _readable(self) -> None:
        self.channel.receive()

    # The loop

    def run(self) -> None:
        """Serve until `shutdown` is answered."""
        self.loop.add_reader(self.channel.fd_in, self._readable)
        while not self.done:
            while self.todo.done and not self.done:
                item = self.todo.take()
                if isinstance(item, Run):
                    self.run_sync(item)
                    self.channel.flush()
                elif item is not None:
                    self.serve(item)
            if not self.done:
                self.loop.run_forever()
        self.channel.flush()
        self._close_loop()

    def _close_loop(self) -> None:
        self.loop.remove_reader(self.channel.fd_in)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self.loop.run_until_complete(asyncio.wait(self._tasks, timeout=1))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def run_hook(self, hook: Callable[[Any], Any]) -> Any:
        made = hook(self.setup_context)
        return self.loop.run_until_complete(made) if is_async(hook) else made


def _nothing() -> None:
    pass
