"""The bytes of a child: reads without blocking, writes in order, from whatever thread or signal handler asks.

A signal handler interrupts the holder of any lock, so it must never wait for one: whoever finds the reader or the writer
busy leaves its work to the one inside, who looks again before leaving.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock

from ..errors import ProtocolError
from ..wire import Notification, Peer, Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn, Protocol

    class Cookie(Protocol):
        """Waits for the answer to one request."""

        def settle(self, error: dict[str, Any] | None, result: Any) -> None: ...


VIOLATION = 70
"""Exit code of a child whose host broke the protocol."""
HANGUP = 1

READ = 64 * 1024
READ_LARGE = 1024 * 1024
"""Bytes asked for at once within a large frame. Not always: the buffer of each read costs a page fault a page."""

MAX_UNSENT_LOGS = 256 * 1024
"""Bytes that may wait for the host to read before log lines and progress are dropped."""


def die(code: int, reason: str) -> NoReturn:
    """End this process now, whatever its handlers do; `reason` goes to fd 2."""
    if reason:
        try:
            os.write(2, f"jobhost child: {reason}\n".encode(errors="replace"))
        except OSError:
            pass  # nobody reads it any more
    os._exit(code)


class Waiter:
    """A thread that waits for the answer to its request, or for work. `done` may be a property."""

    done: bool = False

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def sleep(self) -> None:
        """Block until `wake`; returns at once if that was called since."""
        self._lock.acquire()

    def wake(self) -> None:
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:
                pass  # two woke it at once


class Channel:
    """One wire. `on_request` and `on_notification` are called with what arrives, in order, by whoever reads.

    One at a time reads. Of several threads that wait for answers one leads: it reads for all, and when it has what it
    waited for it wakes the next.
    """

    def __init__(self, fd_in: int, fd_out: int, die: Callable[[int, str], NoReturn] = die) -> None:
        self.fd_in = fd_in
        self.fd_out = fd_out
        self.peer: Peer[Cookie] = Peer()
        self.on_request: Callable[[Request], None] = _unready
        self.on_notification: Callable[[Notification], None] = _unready
        self.die = die
        self.finished = False
        """`shutdown` is answered: the host may hang up."""
        self.abandoned = False
        self._numbering = allocate_lock()
        self._reading = allocate_lock()
        self._writing = allocate_lock()
        self._look_again = False
        self._sleepers: list[Waiter] = []
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._rest: bytes | memoryview = b""
        os.set_blocking(fd_in, False)
        os.set_blocking(fd_out, False)
        self._readable = _poller(fd_in, select.POLLIN)
        self._writable = _poller(fd_out, select.POLLOUT)
        self._either = _poller(fd_in, select.POLLIN)
        self._either.register(fd_out, select.POLLOUT | (select.POLLIN if fd_in == fd_out else 0))

    # Reading

    def receive(self) -> bool:
        """Read what is there and hand it on; false if someone is reading already, who is asked to look again."""
        self._look_again = True
        while self._look_again:
            if not self._reading.acquire(False):
                return False
            try:
                self._receive()
            finally:
                self._leave()
        return True

    def read_until(self, waiter: Waiter) -> None:
        """Block until `waiter.done`, reading what arrives or waiting for the thread that does."""
        while not waiter.done:
            if self._reading.acquire(False):
                self._lead(waiter)
            else:
                self._follow(waiter)
        if self._sleepers:
            self._wake_next()

    def _lead(self, waiter: Waiter) -> None:
        try:
            while not waiter.done:
                self._wait_readable()
                self._receive()
        finally:
            self._leave()
        if self._look_again:
            self.receive()

    def _follow(self, waiter: Waiter) -> None:
        self._sleepers.append(waiter)
        if self._reading.locked() and not waiter.done:
            waiter.sleep()
        self._sleepers.remove(waiter)

    def _leave(self) -> None:
        self._reading.release()
        if self._sleepers:
            self._wake_next()

    def _wake_next(self) -> None:
        for sleeper in self._sleepers[:1]:
            sleeper.wake()

    def _receive(self) -> None:
        self._look_again = False
        try:
            data = os.read(self.fd_in, READ_LARGE if self.peer.partial else READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.hang_up()
        try:
            for event in self.peer.receive(data):
                if isinstance(event, Request):
                    self.on_request(event)
                elif isinstance(event, Response):
                    event.cookie.settle(event.error, event.result)
                else:
                    self.on_notification(event)
        except ProtocolError as error:
            self.die(VIOLATION, f"the host broke the protocol: {error}")

    def _wait_readable(self) -> None:
        """Block until there is something to read. What the host would not take before is sent as it reads on."""
        while self.unsent and not self._readable.poll(0):
            self._either.poll()
            self.flush(wait=False)
        self._readable.poll()

    # Writing

    @property
    def unsent(self) -> int:
        """Bytes that wait for the host to read."""
        return self._out_bytes + len(self._rest)

    @property
    def waiting(self) -> int:
        """Frames not yet handed to the kernel."""
        return len(self._out)

    @property
    def congested(self) -> bool:
        """The host has not read what was written."""
        return bool(self._rest)

    def request(self, method: str, params: dict[str, Any], cookie: Cookie) -> None:
        """Take a request; its answer goes to `cookie`. Raises ProtocolError if it is too large for a frame."""
        with self._numbering:
            frame = self.peer.request(method, params, cookie)
        self.put(frame)

    def put(self, frame: bytes) -> None:
        """Take a frame; `flush` sends it."""
        self._out_bytes += len(frame)
        self._out.append(frame)

    def flush(self, wait: bool = True) -> None:
        """Send what waits; with `wait` all of it, reading meanwhile so that two full pipes never face each other."""
        while (self._out or self._rest) and not self.abandoned and self._writing.acquire(False):
            try:
                done = self._flush(wait)
            finally:
                self._writing.release()
            if not done:
                return

    def _flush(self, wait: bool) -> bool:
        while self._out or self._rest:
            data = self._rest or self._next_chunk()
            try:
                sent = os.write(self.fd_out, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.hang_up()
            if sent == len(data):
                self._rest = b""
                continue
            self._rest = memoryview(data)[sent:]
            if not wait:
                return False
            self._wait_writable()
        return True

    def _next_chunk(self) -> bytes:
        """All frames that wait, as one. The list stays the same: another thread may be about to append to it."""
        out = self._out
        count = len(out)
        chunk = out[0] if count == 1 else b"".join(out[:count])
        del out[:count]
        self._out_bytes = 0 if not out else self._out_bytes - len(chunk)
        return chunk

    def hang_up(self) -> NoReturn:
        """End of file is death."""
        self.die(0 if self.finished else HANGUP, "")

    def abandon(self) -> None:
        """Close this process's copy of the wire: it was forked. Reading from it afterwards ends the process."""
        if self.abandoned:
            return  # a fork of a fork
        self.abandoned = True
        for fd in {self.fd_in, self.fd_out}:
            os.close(fd)
        self.fd_in = self.fd_out = -1
        self._out.clear()
        self._out_bytes = 0
        self._rest = b""

    def _wait_writable(self) -> None:
        for _, events in self._either.poll():
            if events & ~select.POLLOUT and not self.receive():
                self._writable.poll()  # the one who reads may be this very thread, further up


def _poller(fd: int, events: int) -> select.poll:
    poller = select.poll()
    poller.register(fd, events)
    return poller


def _unready(_event: object) -> None:
    raise ProtocolError("a message before `initialize`")
