"""Claims of a queue some of whose handlers have keys or limits over all hosts, where jobs are rows of a table: for SQLite and Postgres,
each with its own statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .admission import Admission
from .fairness import Chooser, Turns
from .limits import Limits, Paths
from .window import Window

NO_LIMITS = Limits()
BETWEEN = "\x1f"
"""Stands between the parts of a window's name: QUEUE, HANDLER, KEY."""
BEHIND = "\x20"
"""What sorts right behind it: names of a queue's windows lie between the two."""
SWEEP_EVERY = 1_000
"""Claims between looks for windows that are over."""


class Commit(Protocol):
    """The transaction that a claim is part of."""

    @property
    def now(self) -> int: ...
    @property
    def paths(self) -> Mapping[str, Paths]: ...
    @property
    def execute(self) -> Callable[..., Any]: ...


@dataclass(slots=True, frozen=True)
class Statements:
    """`first_key`: of a queue and a name; `next_key`: behind a key; `of_key`: the job of a queue, name and key behind so many;
    `active`: name and key of a queue's active jobs; `window`, `write_window`; `old_windows`: between two names, ended before."""

    first_key: str
    next_key: str
    of_key: str
    active: str
    window: str
    write_window: str
    old_windows: str


class Chosen(NamedTuple):
    """A job that is to be taken. `key`: None where its handler has none."""

    seq: int
    name: str
    key: str | None


Line = Callable[[Admission], Iterator[tuple[int, str]]]
"""The jobs of the handlers without keys that `admission` has places for, in order, each counted off as it is given: seq and name."""


class FairClaim:
    """One claim."""

    def __init__(self, tx: Commit, queue: str, line: Line, statements: Statements) -> None:
        self._tx = tx
        self._queue = queue
        self._line = line
        self._say = statements
        self._counted: Counter[tuple[str | None, str | None]] | None = None
        self._windows: dict[str, Window] = {}

    def claim(
        self, limit: int, admission: Admission, limits: Limits | None, turns: Turns
    ) -> tuple[list[int], int | None]:
        """Choose jobs; gives their seqs, and when a limit may have room again."""
        names = list(self._tx.paths)
        line = self._next_of_line(admission)
        chooser = Chooser(self, line, names, admission, limits or NO_LIMITS, turns, self._tx.now)
        choice = chooser.choose(limit)
        for job in choice.jobs:
            chooser.count(job.name, job.key, 1)
        for place, window in self._windows.items():
            if window.used:
                self._tx.execute(self._say.write_window, (place, window.ends_at, window.used))
        if self._windows and turns.first % SWEEP_EVERY == 0:
            between = (self._queue + BETWEEN, self._queue + BEHIND)
            self._tx.execute(self._say.old_windows, (*between, self._tx.now))
        return [job.seq for job in choice.jobs], choice.due

    def _next_of_line(self, admission: Admission) -> Callable[[], Chosen | None]:
        line: Iterator[tuple[int, str]] | None = None

        def take() -> Chosen | None:
            nonlocal line
            if line is None:  # not before the limits are known to `admission`
                line = self._line(admission)
            found = next(line, None)
            return None if found is None else Chosen(*found, None)

        return take

    def next_key(self, name: str, after: str | None) -> str | None:
        if after is None:
            row = self._tx.execute(self._say.first_key, (self._queue, name)).fetchone()
        else:
            row = self._tx.execute(self._say.next_key, (self._queue, name, after)).fetchone()
        key: str | None = row[0]
        return key

    def take(self, name: str, key: str, nth: int) -> Chosen | None:
        row = self._tx.execute(self._say.of_key, (self._queue, name, key, nth)).fetchone()
        return None if row is None else Chosen(row[0], name, key)

    def active(self, name: str | None, key: str | None) -> int:
        if self._counted is None:
            self._counted = Counter()
            for of, its_key in self._tx.execute(self._say.active, (self._queue,)).fetchall():
                self._counted.update(((None, None), (of, None), (of, its_key)))
        return self._counted[name, key]

    def window(self, name: str, key: str | None) -> Window:
        place = BETWEEN.join((self._queue, name, *(() if key is None else (key,))))
        found = self._windows.get(place)
        if found is None:
            row = self._tx.execute(self._say.window, (place,)).fetchone()
            found = self._windows[place] = Window(*row or ())
        return found
