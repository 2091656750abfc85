"""Which jobs a claim takes where handlers have keys: each handler and each key in turn, past those that are at a limit.

One algorithm for the stores that choose job by job; `keyed.lua` says the same for Redis. Of one key jobs come by priority, then age.
Between keys nobody's priority counts: else a tenant could buy the whole queue. The turn goes on from claim to claim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from .admission import Admission
from .job import Rate
from .limits import FREE, Limits, NameLimit
from .window import Window


class Named(Protocol):
    """A job that may be taken."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)
T_co = TypeVar("T_co", covariant=True)
MOST_LOOKS = 2_000
"""Keys that one claim looks at: with more of them at a limit, the next claim goes on behind."""
AGAIN_MS = 250
"""How long until it is looked again whether another host has left a place."""


class Source(Protocol[T_co]):
    """The waiting jobs of one queue."""

    def next_key(self, name: str, after: str | None) -> str | None:
        """The first key behind `after` (None: of all) that has waiting jobs of this name."""

    def take(self, name: str, key: str, nth: int) -> T_co | None:
        """Its job behind `nth` that this claim has taken already."""

    def active(self, name: str | None, key: str | None) -> int:
        """Jobs that run, on all hosts: of a key, of a name, or of the queue."""

    def window(self, name: str, key: str | None) -> Window:
        """The window of a rate. What is counted in it is the store's to keep."""


@dataclass(slots=True)
class Turns:
    """Whose turn it is in one queue. Kept from claim to claim, one for each handle of the store."""

    first: int = 0
    keys: dict[str, str] = field(default_factory=dict)
    """The key that was served last, by name."""


@dataclass(slots=True)
class Choice(Generic[T]):
    """`due`: when (Unix ms) a limit may have room again that has none now."""

    jobs: list[T]
    due: int | None = None


class Chooser(Generic[T]):
    """One claim. `line` gives the next job of the handlers without keys, None if there is none."""

    def __init__(
        self,
        source: Source[T],
        line: Callable[[], T | None],
        names: Sequence[str],
        admission: Admission,
        limits: Limits,
        turns: Turns,
        now: int,
    ) -> None:
        self._source = source
        self._names = names
        self._line = line
        self._admission = admission
        self._limits = limits
        self._turns = turns
        self._now = now
        self._looks = 0
        self._taken: Counter[tuple[str, str]] = Counter()
        self.due: int | None = None

    def choose(self, limit: int) -> Choice[T]:
        """Take up to `limit` jobs."""
        room = self._room(self._limits.concurrency, None, None, None, None)
        limit = min(limit, room)
        lefts: dict[str, int] = {}
        for name, one in self._limits.names.items():
            left = self._room(one.concurrency, one.rate, name, name, None)
            if left <= limit:
                lefts[name] = max(0, left)
                self._admission.limit((name,), lefts[name])
        parts: list[Callable[[], T | None]] = [self._line, *(self._part(name) for name in self._names)]
        first = self._turns.first % len(parts)
        self._turns.first += 1
        parts = parts[first:] + parts[:first]
        jobs: list[T] = []
        while parts and len(jobs) < limit:
            for part in list(parts):
                job = part() if len(jobs) < limit else None
                if job is not None:
                    jobs.append(job)
                elif len(jobs) < limit:
                    parts.remove(part)
        begun = Counter(job.name for job in jobs)
        if len(jobs) >= room or any(begun[name] >= left for name, left in lefts.items()):
            self._wait(self._now + AGAIN_MS)
        return Choice(jobs, self.due)

    def _room(
        self, concurrency: int | None, rate: Rate | None, counted: str | None, name: str | None, key: str | None
    ) -> int:
        """How many more a limit lets begin."""
        taken = self._taken[name, key] if name is not None and key is not None else 0
        left = 1 << 30
        if concurrency is not None:
            left = concurrency - self._source.active(counted, key) - taken
            if left <= 0:
                self._wait(self._now + AGAIN_MS)
        if rate is not None and name is not None:
            window = self._source.window(name, key)
            free = window.left(rate, self._now) - taken
            if free <= 0:
                self._wait(window.ends_at if window.ends_at > self._now else self._now + AGAIN_MS)
            left = min(left, free)
        return left

    def _wait(self, until: int) -> None:
        self.due = until if self.due is None else min(self.due, until)

    def _part(self, name: str) -> Callable[[], T | None]:
        one = self._limits.names.get(name, FREE)
        over: set[str] = set()
        """Keys that have nothing more for this claim."""

        def take() -> T | None:
            if not self._admission.admits(name):
                return None
            start = self._turns.keys.get(name)
            key, wrapped = start, False
            while self._looks < MOST_LOOKS:
                self._looks += 1
                found = self._source.next_key(name, key)
                if found is None or (wrapped and start is not None and found > start):
                    if wrapped or key is None:
                        return None
                    key, wrapped = None, True
                    continue
                key = found
                if key not in over and (job := self._of_key(name, key, one)) is not None:
                    self._turns.keys[name] = key
                    return job
                over.add(key)
            self._wait(self._now + AGAIN_MS)
            return None

        return take

    def _of_key(self, name: str, key: str, one: NameLimit) -> T | None:
        if self._room(one.key_concurrency, one.key_rate, name, name, key) <= 0:
            return None
        job = self._source.take(name, key, self._taken[name, key])
        if job is not None:
            self._admission.take(name)
            self._taken[name, key] += 1
        return job

    def count(self, name: str, key: str | None, jobs: int) -> None:
        """Count begun jobs in the windows of their rates."""
        one = self._limits.names.get(name, FREE)
        if one.rate is not None:
            self._source.window(name, None).count(one.rate, self._now, jobs)
        if one.key_rate is not None and key is not None:
            self._source.window(name, key).count(one.key_rate, self._now, jobs)
