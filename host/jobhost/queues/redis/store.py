"""What all parts of the backend share: the client, the keys of queues, scripts, the clock, and the claims of this handle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobhost.errors import BackendUnavailableError

from ..job import Job, Lease
from .client import REPLY_TIMEOUT, Client
from .connection import Arg, ReplyError, error_of
from .jobs import Fields, own
from .keys import Keys
from .scripts import Script

Clock = Callable[[], int]
Call = tuple[Script, Sequence[str], Sequence[Arg]]
NO_SCRIPT = "NOSCRIPT"


@dataclass(slots=True)
class Held:
    """A claim of this handle: what its end needs to know. `ats` fences it once its lock has run out."""

    job: Job
    fields: Fields
    ats: bytes
    waited: bool = False
    """It was taken from where it waited, to end it: its end is about no attempt that began."""
    joined: bool | None = None
    """Whether its flow knows it as its own; None: not looked yet."""

    @property
    def is_member(self) -> bool:
        """Whether its flow knows it as its own."""
        if self.joined is None:
            self.joined = "flow_id" in own(self.fields)
        return self.joined


@dataclass(slots=True)
class Store:
    """`prefix` is BullMQ's, `bull` by default."""

    client: Client
    prefix: str
    clock: Clock
    handle: str
    held: dict[Lease, Held] = field(default_factory=dict)
    _keys: dict[str, Keys] = field(default_factory=dict)
    _last_token: int = 0
    listeners: set[Client] = field(default_factory=set)
    """Connections that wait for events; closing them ends the waiting."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    reading: set[asyncio.Future[None]] = field(default_factory=set)
    """One for each stream of events that waits for the next one: closing lets it read what there is first."""
    server_ahead_ms: float = 0.0
    """How far the server's clock is ahead of this process's monotonic one, at least."""

    def keys(self, queue: str) -> Keys:
        found = self._keys.get(queue)
        if found is None:
            found = self._keys[queue] = Keys(self.prefix, queue)
        return found

    def shared(self, name: str) -> str:
        """A key of ours that is of no queue."""
        return f"{self.prefix}:jh:{name}"

    def is_asked(self, lease: Lease, ats: bytes | None) -> bool:
        """Whether a request to cancel is about this claim: it names which start of the job it is about."""
        held = self.held.get(lease)
        return ats is not None and held is not None and held.ats == ats

    def token(self) -> str:
        """A new one for each claim: two claims of one handle must not be taken for each other."""
        self._last_token += 1
        return f"{self.handle}:{self._last_token:x}"

    async def learn_time(self) -> None:
        """Learn the server's time, so that what happens from a moment on can be told without asking."""
        before = time.monotonic()
        seconds, micros = await self.client.call("TIME")
        after = time.monotonic()
        self.server_ahead_ms = int(seconds) * 1000 + int(micros) / 1000 - after * 1000 - (after - before) * 1000

    def server_now(self) -> int:
        """Unix ms on the server, a little less at most."""
        return int(time.monotonic() * 1000 + self.server_ahead_ms)

    @property
    def closed(self) -> bool:
        return self.closing.is_set()

    def listener(self, name: str | None = None) -> Client:
        """A connection of its own for what blocks."""
        client = Client(self.client.address, self.prefix, name)
        self.listeners.add(client)
        return client

    async def dismiss(self, client: Client) -> None:
        self.listeners.discard(client)
        await client.close()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """Run one script."""
        [reply] = await self.run_all([(script, keys, args)])
        return reply

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts in one write and give their replies in order. Raises the first error, once all have been run."""
        if len(calls) < 2:
            return [await self._run_one(*call) for call in calls]
        connection = await self.client.connection()
        futures = [connection.call("EVALSHA", script.sha, len(keys), *keys, *args) for script, keys, args in calls]
        replies = await self.client.reply(asyncio.gather(*futures, return_exceptions=True), REPLY_TIMEOUT)
        for index, reply in enumerate(replies):
            if isinstance(reply, ReplyError) and NO_SCRIPT in str(reply):
                script, keys, args = calls[index]
                # The server has not seen it since its start: by its text, which makes it known.
                replies[index] = await self.client.call("EVAL", script.text, len(keys), *keys, *args)
        for reply in replies:
            if isinstance(reply, BackendUnavailableError | ReplyError):
                raise reply
        return list(replies)

    async def _run_one(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """What is asked most, without what many at once need."""
        connection = await self.client.connection()
        try:
            return await self.client.reply(
                connection.call("EVALSHA", script.sha, len(keys), *keys, *args), REPLY_TIMEOUT
            )
        except ReplyError as error:
            if NO_SCRIPT not in str(error):
                raise
        return await self.client.call("EVAL", script.text, len(keys), *keys, *args)

    async def in_one_step(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """Run commands as one transaction and give their replies. Raises the first error."""
        connection = await self.client.connection()
        futures = [connection.call("MULTI"), *(connection.call(*command) for command in commands)]
        futures.append(connection.call("EXEC"))
        replies = await self.client.reply(asyncio.gather(*futures, return_exceptions=True), REPLY_TIMEOUT)
        for reply in (*replies, *(replies[-1] if isinstance(replies[-1], list) else ())):
            if isinstance(reply, BackendUnavailableError):
                raise reply
        results = replies[-1]
        if isinstance(results, BaseException):
            raise results
        for result in results:
            if isinstance(result, Exception):
                raise error_of(self.client.address, result)
        return list(results)
