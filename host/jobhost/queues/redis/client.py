"""A Redis client for the hot path: requests of one turn of the loop go out in one write, replies come back in order.

Speaks RESP2 over TCP, TLS or a Unix socket with hiredis's reader and packer. While the server can't be reached each call fails at once
with what is wrong, and at most one try to connect is made in each pause, which doubles; nothing here loops by itself.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

from jobhost.errors import BackendUnavailableError, ConfigurationError, JobhostError

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between tries to connect."""
CONNECT_TIMEOUT = 5.0
REPLY_TIMEOUT = 30.0
"""Seconds for a reply to a call that does not block: a server that takes longer is as good as gone."""

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
    "NOAUTH": "wants a password: redis://:PASSWORD@HOST, or REDIS_PASSWORD",
    "WRONGPASS": "refuses this user or password",
    "NOPERM": "does not allow this user what a queue needs",
}
"""First words of error replies that say that the server can't be used now, in words."""


class ReplyError(JobhostError):
    """The server refused a command: a defect of ours, or of what is stored."""


@dataclass(slots=True, frozen=True)
class Address:
    """Where a server is and how to enter. `shown` has no password."""

    host: str
    port: int
    path: str | None
    db: int
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    shown: str


def parse_url(url: str) -> Address:
    """Read `redis://`, `rediss://` (with `?cafile=`, `certfile=`, `keyfile=`) or `unix://` URLs. Raises ConfigurationError."""
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    path = None
    try:
        if parts.scheme == "unix":
            path, db = parts.path, int(query.get("db", "0"))
        else:
            db = int(parts.path.strip("/") or query.get("db", "0"))
        port = parts.port or 6379
    except ValueError:
        raise ConfigurationError(f"queue_url: {_shown(url)} has no number as its port or database") from None
    context = None
    if parts.scheme == "rediss":
        try:
            context = ssl.create_default_context(cafile=query.get("cafile"))
            if "certfile" in query:
                context.load_cert_chain(query["certfile"], query.get("keyfile"))
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"queue_url: {_shown(url)}: a certificate can't be read: {error}") from error
    return Address(
        parts.hostname or "localhost",
        port,
        path,
        db,
        unquote(parts.username) if parts.username else query.get("username"),
        unquote(parts.password) if parts.password else query.get("password"),
        context,
        _shown(url),
    )


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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
            future.set_exception(error_of(self._address, reply))
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
            return unavailable(address, words)
    return ReplyError(f"Redis said: {text}")


class Client:
    """A connection that is made when it is needed, and made again after it was lost."""

    def __init__(
        self,
        address: Address,
        name: str | None = None,
        prepare: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """`name`: as `CLIENT LIST` shows it. `prepare` is awaited with each new connection before its first use."""
        self.address = address
        self._name = name
        self._prepare = prepare
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._pause = FIRST_PAUSE
        self._not_before = 0.0
        self._last_error: BackendUnavailableError | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect now. Raises BackendUnavailableError."""
        self._closed = False
        await self.connection()

    async def close(self) -> None:
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def connection(self) -> Connection:
        """A connection that works as far as is known. Raises BackendUnavailableError, at once during a pause."""
        connection = self._connection
        if connection is not None and not connection.closed:
            return connection
        if self._closed:
            raise unavailable(self.address, "is not open")
        if self._opening is None:
            if self._last_error is not None and time.monotonic() < self._not_before:
                raise self._last_error
            self._opening = asyncio.get_running_loop().create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> Connection:
        connection = Connection(self.address)
        try:
            await connection.open(self._name)
            if self._prepare is not None:
                await self._prepare(connection)
        except BackendUnavailableError as error:
            self._last_error = error
            self._not_before = time.monotonic() + self._pause
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
            raise
        finally:
            self._opening = None
        self._connection = connection
        self._pause = FIRST_PAUSE
        self._last_error = None
        return connection

    async def call(self, *command: Arg, timeout: float | None = REPLY_TIMEOUT) -> Any:
        """One command and its reply. `timeout` in seconds, None for calls that block on purpose."""
        return await self.reply((await self.connection()).call(*command), timeout)

    async def calls(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """Commands in one write; an exception in the place of a reply that was refused. Raises if the server is gone."""
        connection = await self.connection()
        futures = [connection.call(*command) for command in commands]
        replies = await self.reply(asyncio.gather(*futures, return_exceptions=True), REPLY_TIMEOUT)
        for reply in replies:
            if isinstance(reply, BackendUnavailableError):
                raise reply
        return list(replies)

    async def reply(self, future: asyncio.Future[Any], timeout: float | None) -> Any:
        """Wait for a reply; a server that does not answer is left, so that later calls do not wait behind it."""
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            if self._connection is not None:
                self._connection.abort()
            raise unavailable(self.address, f"did not answer within {timeout:g} s") from None
