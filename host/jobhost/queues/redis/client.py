"""A Redis client for the hot path: a connection that is made when it is needed, and made again after it was lost.

While the server can't be reached each call fails at once with what is wrong, and at most one try to connect is made in each pause,
which doubles; nothing here loops by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from jobhost.errors import BackendUnavailableError

from .address import Address
from .connection import Arg, Connection, unavailable
from .finding import connect

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between tries to connect."""
REPLY_TIMEOUT = 10.0
"""Seconds for a reply to a call that does not block: a server that takes longer is as good as gone. Well below the half of a lease."""


class Client:
    """A connection that is made when it is needed, and made again after it was lost."""

    def __init__(
        self,
        address: Address,
        prefix: str,
        name: str | None = None,
        prepare: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """`prefix`: of all keys; in a cluster it says which node has them. `name`: as `CLIENT LIST` shows it. `prepare` is awaited
        with each new connection before its first use."""
        self.address = address
        self.prefix = prefix
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
        try:
            connection = await connect(self.address, self.prefix, self._name)
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
