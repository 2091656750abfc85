"""Jobs of handlers that have keys, as one queue of the memory backend keeps and takes them."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

from ..admission import Admission
from ..fairness import Chooser
from ..limits import Limits
from ..window import Window
from .line import Line
from .record import Record

if TYPE_CHECKING:
    from .shelf import Shelf

NO_LIMITS = Limits()
MOST_WINDOWS = 10_000
"""Windows of rates before those that are over are forgotten."""


class KeyedLines:
    """The waiting jobs of one name: a line for each key. `keys`: those that may have jobs, in order."""

    __slots__ = ("_lines", "keys")

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self.keys: list[str] = []

    def push(self, record: Record) -> None:
        line = self._lines.get(record.key)
        if line is None:
            line = self._lines[record.key] = Line()
            insort(self.keys, record.key)
        line.push(record)

    def discard(self, key: str) -> None:
        """Say that a job of a key, whichever, no longer waits."""
        self._lines[key].discard()

    def next_key(self, after: str | None) -> str | None:
        index = 0 if after is None else bisect_right(self.keys, after)
        return self.keys[index] if index < len(self.keys) else None

    def pop(self, key: str) -> Record | None:
        """Take the first job of a key; a key without any is gone."""
        line = self._lines[key]
        record = line.pop()
        if not line:
            del self._lines[key]
            self.keys.pop(bisect_right(self.keys, key) - 1)
        return record


class FairShelf:
    """A claim's view of a queue."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def claim(self, limit: int, admission: Admission, limits: Limits, now: int) -> tuple[list[Record], int | None]:
        """Take jobs in turn; and give when a limit may have room again."""
        shelf = self._shelf

        def line() -> Record | None:
            taken = shelf.take_admitted(1, admission)
            return taken[0] if taken else None

        chooser = Chooser(self, line, list(shelf.keyed), admission, limits, shelf.turns, now)
        choice = chooser.choose(limit)
        for record in choice.jobs:
            chooser.count(record.name, record.key, 1)
        if len(shelf.windows) > MOST_WINDOWS:
            shelf.windows = {place: window for place, window in shelf.windows.items() if window.ends_at > now}
        return choice.jobs, choice.due

    def next_key(self, name: str, after: str | None) -> str | None:
        lines = self._shelf.keyed.get(name)
        return None if lines is None else lines.next_key(after)

    def take(self, name: str, key: str, nth: int) -> Record | None:
        record = self._shelf.keyed[name].pop(key)
        if record is not None:
            record.state = "active"
        return record

    def active(self, name: str | None, key: str | None) -> int:
        return self._shelf.run_now(name, key)

    def window(self, name: str, key: str | None) -> Window:
        return self._shelf.windows.setdefault((name, key), Window())
