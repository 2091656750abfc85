"""The pump between a child's pipe and the pure peer: bytes in, events out, many frames in one write.

What costs is not the codec but each wake-up and each system call (measured: 9 k jobs/s with a write and a read per
frame, 100 k with batches). So frames are joined until the end of the loop's turn, but at most 16 of them: without a cap host and
child take turns instead of both working.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobhost_sdk.errors import ProtocolError
from jobhost_sdk.wire import Peer

if TYPE_CHECKING:
    from jobhost_sdk.wire.peer import Event

BATCH = 16
"""Frames joined into one write."""
HIGH_WATER = 1024 * 1024
"""Bytes that may wait for a child that does not read."""
STUCK_AFTER = 5.0
"""Seconds after which a child that still has not read them is given up."""
HALF_FRAME_AFTER = 30.0
"""Seconds a frame may take from its first byte to its last."""
HALF_FRAME = f"it left a frame unfinished for {HALF_FRAME_AFTER:g} s"
_BUFFER = 256 * 1024


class Connection:
    """One child's wire on an event loop. `on_events` gets what each read completed, in order; `on_lost` the reason, once.

    Methods that send never wait. After `close` or a loss they do nothing.
    """

    def __init__(self, on_events: Callable[[list[Event]], None], on_lost: Callable[[str | None], None]) -> None:
        self.peer: Peer[Any] = Peer()
        self._on_events = on_events
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._scheduled = False
        self._reader: asyncio.ReadTransport | None = None
        self._writer: asyncio.WriteTransport | None = None
        self._duplex = False
        self._closed = False
        self._stuck: asyncio.TimerHandle | None = None
        self._half: asyncio.TimerHandle | None = None
        self._holds = 0
        self.taking = asyncio.Event()
        """Set while the child reads what is written for it."""
        self.taking.set()
        self.bytes_in = 0
        self.bytes_out = 0

    async def open_socket(self, sock: socket.socket) -> None:
        """Speak over one duplex socket (the best for a Python child)."""
        transport, _ = await self._loop.create_connection(lambda: _SocketSide(self), sock=sock)
        self._duplex = True
        self._reader = transport
        self._writer = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)

    async def open_pipes(self, read: int, write: int) -> None:
        """Speak over two pipes (a socket pair costs Node 16 %). Takes the descriptors over."""
        self._reader, _ = await self._loop.connect_read_pipe(lambda: _PipeSide(self), os.fdopen(read, "rb", 0))
        self._writer, _ = await self._loop.connect_write_pipe(lambda: _PipeSide(self), os.fdopen(write, "wb", 0))
        self._writer.set_write_buffer_limits(high=HIGH_WATER)

    # Sending -----------------------------------------------------------------------------------------------------

    def request(self, method: str, params: dict[str, Any], cookie: Any) -> None:
        self._send(self.peer.request(method, params, cookie))

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self._send(self.peer.notify(method, params))

    def result(self, id: int, result: Any) -> None:
        self._send(self.peer.result(id, result))

    def error(self, id: int, error: dict[str, Any]) -> None:
        self._send(self.peer.error(id, error))

    def _send(self, data: bytes) -> None:
        out = self._out
        out.append(data)
        if len(out) >= BATCH:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._end_of_turn)

    def _end_of_turn(self) -> None:
        self._scheduled = False
        self._flush()

    def _flush(self) -> None:
        out = self._out
        if out and self._writer is not None and not self._closed:
            data = out[0] if len(out) == 1 else b"".join(out)
            self.bytes_out += len(data)
            self._writer.write(data)
        out.clear()

    # Receiving ---------------------------------------------------------------------------------------------------

    def received(self, data: bytes | memoryview) -> None:
        if self._closed:
            return
        self.bytes_in += len(data)
        try:
            events = self.peer.receive(data)
        except ProtocolError as error:
            self.lost(f"it broke the protocol: {error}")
            return
        if events or not self.peer.partial:
            self._forget_half()  # a whole frame came: one that is unfinished now is another one
        if self.peer.partial and self._half is None:
            self._half = self._loop.call_later(HALF_FRAME_AFTER, self._gave_up, HALF_FRAME)
        if events:
            self._on_events(events)

    def _forget_half(self) -> None:
        if self._half is not None:
            self._half.cancel()
            self._half = None

    def hold(self) -> None:
        """Read nothing more until as many calls of `release`: the child waits then, in its pipe."""
        self._holds += 1
        if self._holds == 1 and self._reader is not None and not self._closed:
            self._reader.pause_reading()
            self._forget_half()  # what is not read can't be finished

    def release(self) -> None:
        self._holds -= 1
        if self._holds == 0 and self._reader is not None and not self._closed:
            self._reader.resume_reading()
            if self.peer.partial:
                self._half = self._loop.call_later(HALF_FRAME_AFTER, self._gave_up, HALF_FRAME)

    def pause_writing(self) -> None:
        """The child does not read. Its requests wait too, or they would pile up answers."""
        self.hold()
        self.taking.clear()
        self._stuck = self._loop.call_later(STUCK_AFTER, self._gave_up, "it did not read its wire for 5 s")

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
            self.taking.set()
            self.release()

    def _gave_up(self, reason: str) -> None:
        self.lost(reason)

    def lost(self, reason: str | None) -> None:
        """The wire is gone: by end of file (None), or for a reason."""
        if not self._closed:
            self.close()
            self._on_lost(reason)

    def close(self) -> None:
        """Close both directions at once; what is unsent is dropped."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        for timer in (self._stuck, self._half):
            if timer is not None:
                timer.cancel()
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None and not self._duplex and not self._writer.is_closing():
            # asyncio's pipe transport fails when it is aborted after its own end has begun.
            self._writer.abort()


class _SocketSide(asyncio.BufferedProtocol):
    """Reads into one buffer of our own: no allocation for each read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.received(self._view[:nbytes])

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.lost(None)


class _PipeSide(asyncio.Protocol):
    """Either direction of a pair of pipes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def data_received(self, data: bytes) -> None:
        self._connection.received(data)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.lost(None)
