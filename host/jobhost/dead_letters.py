"""Dead letters from outside: `client.dead`. Listed, looked at, edited, replayed and purged, one by one or by what they have in common.

    async with Client(url) as jobs:
        async for letter in jobs.dead.find(Which(error="ConnectionError")):
            await jobs.dead.replay(letter["id"], letter["queue"])

Which queues hold dead letters is known from the configuration, and from the hosts that are alive.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from jobhost.errors import JobhostError, JobNotFoundError, PayloadError
from jobhost.listings import Listing, iso, value
from jobhost.newjobs import json_text
from jobhost.queues.dead_letters import Origin, Replayed, origin_of
from jobhost.queues.job import Job, State
from jobhost.queues.seam import Backend

AT_ONCE = 32
"""Letters that are replayed or purged side by side: stores write them in few steps then."""
_PAGE = 500
_KEPT: tuple[State, ...] = ("waiting", "prioritized", "delayed", "failed")
"""States that a letter may be in. Those of a queue that somebody serves after all may have run."""


@dataclass(slots=True, frozen=True)
class Which:
    """What letters are meant; None is any. `older_than_ms`, `newer_than_ms`: by when their jobs failed."""

    origin: str | None = None
    """The queue that they come from."""
    name: str | None = None
    error: str | None = None
    """The class of the error."""
    older_than_ms: int | None = None
    newer_than_ms: int | None = None

    def takes(self, letter: Job, origin: Origin, now: int) -> bool:
        age = now - _number(origin.told.get("failed_at"))
        error = origin.told.get("error")
        return (
            self.origin in (None, origin.queue)
            and self.name in (None, letter.name)
            and (self.error is None or (isinstance(error, dict) and error.get("type") == self.error))
            and (self.older_than_ms is None or age >= self.older_than_ms)
            and (self.newer_than_ms is None or age < self.newer_than_ms)
        )


class AmbiguousLetterError(JobhostError):
    """Several queues of dead letters have a letter of this id."""


class DeadLetters:
    """`configured`: queues of dead letters as a configuration names them. `most`: bytes that a queue takes as data."""

    def __init__(self, backend: Backend, configured: Collection[str], most: Callable[[str], int]) -> None:
        self._backend = backend
        self._configured = configured
        self._most = most

    async def queues(self) -> list[str]:
        """Queues that hold dead letters, by the configuration or by what the hosts that are alive say."""
        names = set(self._configured)
        for host in await self._backend.hosts():
            told = value(host.info)
            listed = told.get("dead_letters") if isinstance(told, dict) else None
            names.update(name for name in listed or () if isinstance(name, str))
        return sorted(names)

    async def find(self, which: Which = Which(), queue: str | None = None, limit: int = 0) -> AsyncIterator[Listing]:
        """Letters of one queue or of all, the newest first, at most `limit` (0: all)."""
        found = 0
        async for letter, origin in self._all(which, queue):
            yield letter_listing(letter, origin)
            found += 1
            if found == limit:
                return

    async def _all(self, which: Which, queue: str | None) -> AsyncIterator[tuple[Job, Origin]]:
        now = int(time.time() * 1000)
        for name in [queue] if queue is not None else await self.queues():
            cursor: str | None = None
            while True:
                page, cursor = await self._backend.jobs(name, _KEPT, _PAGE, cursor)
                for letter in page:
                    origin = origin_of(letter)
                    if origin is not None and which.takes(letter, origin, now):
                        yield letter, origin
                if cursor is None:
                    break

    async def get(self, id: str, queue: str | None = None) -> Listing:
        """One letter. Raises JobNotFoundError, and AmbiguousLetterError if `queue` has to be said."""
        return letter_listing(*await self._one(id, queue))

    async def _one(self, id: str, queue: str | None) -> tuple[Job, Origin]:
        names = [queue] if queue is not None else await self.queues()
        found = []
        for name in names:
            letter = await self._backend.get(name, id)
            if letter is not None and (origin := origin_of(letter)) is not None:
                found.append((letter, origin))
        if len(found) > 1:
            several = ", ".join(letter.queue for letter, _ in found)
            raise AmbiguousLetterError(f"there are letters {id!r} in {several}: say which queue")
        if not found:
            raise JobNotFoundError(f"there is no dead letter {id!r} in {', '.join(names) or 'any queue that is known'}")
        return found[0]

    async def edit(self, id: str, data: Any, queue: str | None = None) -> None:
        """Give a letter's job other data, for its replay. Raises JobNotFoundError, PayloadError."""
        letter, origin = await self._one(id, queue)
        text = json_text(data, "data")
        if len(text) > (most := self._most(origin.queue)):
            raise PayloadError(
                f"the data is {len(text):,} bytes as JSON; queue {origin.queue!r} takes {most:,} (max_payload)"
            )
        if not await self._backend.edit(letter.queue, letter.id, text):
            raise JobNotFoundError(f"dead letter {id!r} of queue {letter.queue!r} does not wait any more")

    async def replay(self, id: str, queue: str | None = None) -> Replayed:
        """Let a letter's job run again, in its old queue, with all its attempts. Raises JobNotFoundError, JobActiveError."""
        letter, _ = await self._one(id, queue)
        return await self._backend.replay(letter.queue, letter.id)

    async def purge(self, id: str, queue: str | None = None) -> bool:
        """Delete a letter. False if it is gone. Raises JobNotFoundError, JobActiveError."""
        letter, _ = await self._one(id, queue)
        return await self._backend.remove(letter.queue, letter.id)

    async def replay_all(
        self,
        which: Which = Which(),
        queue: str | None = None,
        limit: int = 0,
        on_each: Callable[[int], None] | None = None,
    ) -> tuple[int, list[tuple[Listing, Replayed]]]:
        """Replay letters, each in a step of its own: what was interrupted is gone on with by doing it again. Gives how many, and those
        that could not be. `on_each` is told after each how many that were."""
        refused: list[tuple[Listing, Replayed]] = []
        done = 0

        async def replay(letter: Listing) -> None:
            nonlocal done
            replayed = await self._backend.replay(letter["queue"], letter["id"])
            if replayed.outcome == "replayed":
                done += 1
            elif replayed.outcome != "missing":  # somebody else was quicker
                refused.append((letter, replayed))
            if on_each is not None:
                on_each(done + len(refused))

        await _side_by_side(self.find(which, queue, limit), replay)
        return done, refused

    async def purge_all(
        self,
        which: Which = Which(),
        queue: str | None = None,
        limit: int = 0,
        on_each: Callable[[int], None] | None = None,
    ) -> int:
        """Delete letters; gives how many."""
        done = 0

        async def purge(letter: Listing) -> None:
            nonlocal done
            removed = await self._backend.remove(letter["queue"], letter["id"])
            done += removed
            if on_each is not None:
                on_each(done)

        await _side_by_side(self.find(which, queue, limit), purge)
        return done


async def _side_by_side(letters: AsyncIterator[Listing], work: Callable[[Listing], Awaitable[None]]) -> None:
    """The list is read whole first: what is replayed may fail again meanwhile, and would be met a second time."""
    listed = [letter async for letter in letters]
    for start in range(0, len(listed), AT_ONCE):
        some = (work(letter) for letter in listed[start : start + AT_ONCE])
        for problem in await asyncio.gather(*some, return_exceptions=True):
            if problem is not None:
                raise problem


def letter_listing(letter: Job, origin: Origin) -> Listing:
    """A letter as listings show it. `origin`: the job it is a copy of; `replayed`: how often that has been replayed before."""
    told = origin.told
    metadata = json.loads(letter.metadata or b"{}")
    replayed = metadata.get("replayed")
    return {
        "id": letter.id,
        "queue": letter.queue,
        "name": letter.name,
        "data": value(letter.data),
        "origin": {"queue": origin.queue, "id": origin.id, "created_at": iso(origin.created_at)},
        "error": told.get("error"),
        "failed_at": iso(_number(told.get("failed_at"))),
        "attempts_made": told.get("attempts_made"),
        "receipt": told.get("receipt"),
        "flow_id": (told.get("flow") or {}).get("id"),
        "replayed": _number(replayed.get("times")) if isinstance(replayed, dict) else 0,
        "metadata": {name: each for name, each in metadata.items() if name not in ("dead", "replayed")},
    }


def _number(told: Any) -> int:
    return told if isinstance(told, int) and not isinstance(told, bool) else 0
