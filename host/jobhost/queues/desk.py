"""A thread that owns a connection, and the way for the event loop to ask it for things.

What has queued up while the thread was at work is handed over together: for the writer that is the next commit. The loop
is called back once for all of it. Nothing ever waits for more to come: with a disk that flushes slowly more comes by
itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from jobhost.errors import BackendUnavailableError, JobhostError

MOST = 512
"""Orders handed over together: bounds how long the first of them waits for the last."""

TICK_S = 1.0
"""How often a desk is given the chance to look around."""

Context = TypeVar("Context")
Undo = Callable[[Any], None]


class Closable(Protocol):
    def close(self) -> None: ...


Connection = TypeVar("Connection", bound=Closable)


class Order(Generic[Context]):
    """Something to do, and its outcome."""

    __slots__ = ("_work", "error", "future", "result", "undo")

    def __init__(self, work: Callable[[Context], Any], future: asyncio.Future[Any], undo: Undo | None) -> None:
        self._work = work
        self.future = future
        self.undo = undo
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, context: Context) -> None:
        """Do it. A JobhostError is its outcome (work raises one only before it writes); any other error is raised."""
        self.result = self.error = None
        try:
            self.result = self._work(context)
        except JobhostError as error:
            self.error = error

    def deliver(self) -> None:
        """Tell who waits; undo what nobody waits for any more."""
        if not self.future.done():
            if self.error is None:
                self.future.set_result(self.result)
            else:
                self.future.set_exception(self.error)
        elif self.error is None and self.undo is not None:
            self.undo(self.result)


class Desk(Generic[Connection, Context]):
    """The thread. A subclass says how to connect and how to serve. `what`: the store, as errors name it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._inbox: SimpleQueue[Order[Context] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._serving = False
        self._loop: asyncio.AbstractEventLoop

    async def open(self) -> None:
        """Start the thread and connect. Raises BackendUnavailableError."""
        self._loop = asyncio.get_running_loop()
        connected: asyncio.Future[None] = self._loop.create_future()
        self._inbox = SimpleQueue()
        name = f"jobhost-{type(self).__name__.lower()}"
        self._thread = threading.Thread(target=self._main, args=(connected,), name=name, daemon=True)
        self._thread.start()
        try:
            await connected
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let the thread do what was asked of it before, and end it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            await self._loop.run_in_executor(None, thread.join)

    async def ask(self, work: Callable[[Context], Any], undo: Undo | None = None) -> Any:
        """Have something done and give its result. `undo` is called with the result, on the loop, if the caller was cancelled
        but the work was done."""
        if self._thread is None:
            raise self._closed()
        order = Order(work, self._loop.create_future(), undo)
        self._inbox.put(order)
        if not self._serving:
            self._refuse()
        return await order.future

    def tell(self, function: Callable[..., None], *values: Any) -> None:
        """Call a function on the loop, from the thread."""
        try:
            self._loop.call_soon_threadsafe(function, *values)
        except RuntimeError:
            pass  # the loop is closed: nobody is left to be told

    def _main(self, connected: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self.tell(_fail, connected, self._in_words(error))
            return
        self._serving = True
        self.tell(_succeed, connected)
        try:
            self._work(connection)
        finally:
            connection.close()
            self._serving = False
            self._refuse()

    def _refuse(self) -> None:
        """Answer what nobody will serve any more, as the desk was closed, or as its thread met with a mistake of ours."""
        try:
            while True:
                if (order := self._inbox.get_nowait()) is not None:
                    self.tell(_fail, order.future, self._closed())
        except Empty:
            pass

    def _closed(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"{self._what} is not open")

    def _work(self, connection: Connection) -> None:
        closing = False
        while not closing:
            orders, closing = self._collect()
            orders = [order for order in orders if not order.future.cancelled()]
            if orders:
                self._serve_or_refuse(connection, orders)
            self._look_around(connection)

    def _serve_or_refuse(self, connection: Connection, orders: list[Order[Context]]) -> None:
        try:
            self._serve(connection, orders)
        except BaseException:  # a mistake of ours ends the thread: it must not leave anybody waiting
            for order in orders:
                self.tell(_fail, order.future, self._closed())
            raise

    def _collect(self) -> tuple[list[Order[Context]], bool]:
        """Wait for orders and take all there are; True once the desk is to close."""
        orders: list[Order[Context]] = []
        try:
            order = self._inbox.get(timeout=TICK_S)
            while order is not None:
                orders.append(order)
                if len(orders) == MOST:
                    return orders, False
                order = self._inbox.get_nowait()
        except Empty:
            return orders, False
        return orders, True

    def _connect(self) -> Connection:
        raise NotImplementedError

    def _serve(self, connection: Connection, orders: list[Order[Context]]) -> None:
        raise NotImplementedError

    def _in_words(self, error: Exception) -> Exception:
        """Put an error of the store into a sentence; give any other error as it is."""
        raise NotImplementedError

    def _look_around(self, connection: Connection) -> None:
        """Called after each turn, at least once a tick."""


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
