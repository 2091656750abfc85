"""Claims of a queue some of whose handlers have keys or limits over all hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..admission import Admission
from ..fairness import Chooser, Turns
from ..limits import Limits
from ..window import Window

if TYPE_CHECKING:
    from .transaction import Transaction

NO_LIMITS = Limits()
# INDEXED BY: see claiming.py.
_FIRST_KEY = "SELECT min(key) FROM jobs INDEXED BY jobs_ready_by_name WHERE queue = ? AND name = ? AND state <= 1"
_NEXT_KEY = _FIRST_KEY + " AND key > ?"
_OF_KEY = """SELECT seq FROM jobs INDEXED BY jobs_ready_by_name
WHERE queue = ? AND name = ? AND key = ? AND state <= 1 ORDER BY priority, rank LIMIT 1 OFFSET ?"""
_ACTIVE = "SELECT name, key FROM jobs INDEXED BY jobs_listed WHERE queue = ? AND state = 3"
_WINDOW = "SELECT ends_at, used FROM windows WHERE queue = ?"
_WRITE_WINDOW = "INSERT OR REPLACE INTO windows VALUES (?, ?, ?)"
_OLD_WINDOWS = "DELETE FROM windows WHERE queue > ? AND queue < ? AND ends_at < ?"
SWEEP_EVERY = 1_000
"""Claims between looks for windows that are over."""


class Chosen(NamedTuple):
    """A job that is to be taken. `key`: None where its handler has none."""

    seq: int
    name: str
    key: str | None


Line = Callable[[Admission], Iterator[tuple[int, str]]]
"""The jobs of the handlers without keys that `admission` has places for, in order, each counted off as it is given: seq and name."""


class FairClaim:
    """One claim."""

    def __init__(self, tx: Transaction, queue: str, line: Line) -> None:
        self._tx = tx
        self._queue = queue
        self._line = line
        self._counted: Counter[tuple[str | None, str | None]] | None = None
        self._windows: dict[str, Window] = {}

    def claim(
        self, limit: int, admission: Admission, limits: Limits | None, turns: Turns
    ) -> tuple[list[int], int | None]:
        """Choose jobs; gives their seqs, and when a limit may have room again."""
        chooser = Chooser(
            self,
            self._next_of_line(admission),
            list(self._tx.paths),
            admission,
            limits or NO_LIMITS,
            turns,
            self._tx.now,
        )
        choice = chooser.choose(limit)
        for job in choice.jobs:
            chooser.count(job.name, job.key, 1)
        for place, window in self._windows.items():
            if window.used:
                self._tx.execute(_WRITE_WINDOW, (place, window.ends_at, window.used))
        if self._windows and turns.first % SWEEP_EVERY == 0:
            ours = f"{self._queue}\0"
            self._tx.execute(_OLD_WINDOWS, (ours, f"{self._queue}\x01", self._tx.now))
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
        row = (
            self._tx.execute(_FIRST_KEY, (self._queue, name))
            if after is None
            else self._tx.execute(_NEXT_KEY, (self._queue, name, after))
        ).fetchone()
        key: str | None = row[0]
        return key

    def take(self, name: str, key: str, nth: int) -> Chosen | None:
        row = self._tx.execute(_OF_KEY, (self._queue, name, key, nth)).fetchone()
        return None if row is None else Chosen(row[0], name, key)

    def active(self, name: str | None, key: str | None) -> int:
        if self._counted is None:
            self._counted = Counter()
            for of, its_key in self._tx.execute(_ACTIVE, (self._queue,)):
                self._counted.update(((None, None), (of, None), (of, its_key)))
        return self._counted[name, key]

    def window(self, name: str, key: str | None) -> Window:
        place = "\0".join((self._queue, name, *(() if key is None else (key,))))
        found = self._windows.get(place)
        if found is None:
            found = self._windows[place] = Window(*self._tx.execute(_WINDOW, (place,)).fetchone() or ())
        return found
