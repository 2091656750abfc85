"""One connection to a Redis server: requests of one turn of the loop go out in one write, replies come back in order.

Speaks RESP2 over TCP, TLS or a Unix socket with hiredis's reader and packer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from jobhost.errors import BackendUnavailableError, JobhostError

from .address import Address

CONNECT_TIMEOUT = 5.0
"""Seconds."""

Arg = bytes | str | int | float

UNAVAILABLE = {
    "LOADING": "is still loading its data: it will be there in a moment",
    "READONLY": "is a replica that takes no writes: name the primary in queue_url",
    "MASTERDOWN": "has lost its primary",
    "OOM": "is out of memory (maxmemory): free some, or raise it; its maxmemory-policy has to be noeviction",
    "MISCONF": "can't save its data to disk, and takes no writes until it can: see its log",
    "NOREPLICAS": "has too few replicas to take writes",
    "BUSY": "is busy with a script",
    "UNBLOCKED": "has just become a replica",
    "CLUSTERDOWN": "is a cluster that is down",
    "MOVED": "has handed the keys of this prefix to another node: it is looked for",
    "ASK": "is handing the keys of this prefix to another node",
    "TRYAGAIN": "is handing the keys of this prefix to another node",
    "NOAUTH": "wants a password: redis://:PASSWORD@HOST, or REDIS_PASSWORD",
    "WRONGPASS": "refuses this user or password",
    "NOPERM": "does not allow this user what a queue needs",
}
"""First words of error replies that say that the server can't be used now, in words."""
ELSEWHERE = ("READONLY", "MASTERDOWN", "MOVED", "CLUSTERDOWN", "UNBLOCKED")
"""Those after which another server may be the one to ask: by sentinel, cluster or name service, so the connection is left."""


class ReplyError(JobhostError):
    """The server refused a command: a defect of ours, or of what is stored."""


class RefusedError(BackendUnavailableError):
    """The server is there and can't be used now. `word`: the first of its reply."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.word = word


class Connection(asyncio.Protocol):
    """One connection and the calls on their way. `closed` is set once it can't be used any more."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._out: list[bytes] = []
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.closed = False
        self.on_message: Callable[[Any], None] | None = None
        """Called with each message once the connection has subscribed to a channel."""

    async def open(self, name: str | None = None) -> None:
        """Connect and enter. Raises BackendUnavailableError."""
        address = self._address
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                if address.path is not None:
                    await self._loop.create_unix_connection(lambda: self, address.path)
                else:
                    await self._loop.create_connection(lambda: self, address.host, address.port, ssl=address.tls)
                await self._enter(name)
        except TimeoutError:
            self.abort()
            raise unavailable(address, f"did not answer within {CONNECT_TIMEOUT:g} s") from None
        except OSError as error:
            self.abort()
            raise unavailable(address, f"can't be reached: {error.strerror or error}") from error
        except BaseException:
            self.abort()
            raise

    async def _enter(self, name: str | None) -> None:
        address = self._address
        if address.password is not None:
            user = (address.username,) if address.username else ()
            await self.call("AUTH", *user, address.password)
        first: list[tuple[Arg, ...]] = []
        if address.db:
            first.append(("SELECT", address.db))
        if name is not None:
            first.append(("CLIENT", "SETNAME", name))
        first.append(("PING",))
        await asyncio.gather(*(self.call(*command) for command in first))

    # Calls --------------------------------------------------------------------------------------------------------

    def call(self, *command: Arg) -> asyncio.Future[Any]:
        """Send a command; the future gives its reply, or raises ReplyError or BackendUnavailableError."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.closed:
            future.set_exception(unavailable(self._address, "has closed the connection"))
            return future
        self._out.append(hiredis.pack_command(command))  # type: ignore[arg-type]
        self._waiting.append(future)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._scheduled = False
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    # asyncio.Protocol -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no such class

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        while True:
            try:
                reply = reader.gets()
            except hiredis.ProtocolError as error:
                self._end(f"sent what is no reply: {error}")
                return
            if reply is _NOTHING:
                return
            self._take(reply)

    def _take(self, reply: Any) -> None:
        if self.on_message is not None and isinstance(reply, list) and reply and reply[0] == b"message":
            self.on_message(reply)
            return
        future = self._waiting.popleft() if self._waiting else None
        if future is None or future.done():
            return  # whoever asked has gone
        if isinstance(reply, hiredis.ReplyError):
            error = error_of(self._address, reply)
            future.set_exception(error)
            if isinstance(error, RefusedError) and error.word in ELSEWHERE:
                self._loop.call_soon(self.abort)
        else:
            future.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._end("has closed the connection")

    def _end(self, reason: str) -> None:
        if self.closed and not self._waiting:
            return
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(unavailable(self._address, reason))

    def abort(self) -> None:
        """Close at once; what waits for replies is told that the server has gone."""
        self._end("was left")


_NOTHING = object()


def unavailable(address: Address, what: str) -> BackendUnavailableError:
    """The error of a server that can't be used now."""
    return BackendUnavailableError(f"the Redis server {address.shown} {what}")


def error_of(address: Address, reply: Exception) -> JobhostError:
    """An error reply as an exception: what is the server's state is told from what is a defect."""
    text = str(reply)
    word = text.split(" ", 1)[0].lstrip("-")
    if word == "ERR" and "max number of clients" in text:
        return unavailable(address, "has too many clients: raise maxclients, or start fewer hosts")
    for known, words in UNAVAILABLE.items():
        # An error inside a script comes as "ERR … script: OOM …" from older servers.
        if word == known or f": {known} " in text or f"-{known} " in text:
            return RefusedError(str(unavailable(address, words)), known)
    return ReplyError(f"Redis said: {text}")
