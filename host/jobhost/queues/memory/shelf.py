"""One queue of the memory backend: its jobs, and an index for each thing that is asked of them.

What a state needs is kept here, so that a job changes its state by `withdraw` from the old one and `place` in the new one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from heapq import heapify, heappop, heappush, heapreplace

from ..admission import Admission
from ..fairness import Turns
from ..job import Keep, State
from ..limits import Limits, Paths, key_of
from ..window import Window
from .fair import NO_LIMITS, FairShelf, KeyedLines
from .line import Line
from .record import READY, Record


class Shelf:
    """The jobs of one queue."""

    __slots__ = (
        "active",
        "delayed",
        "delayed_count",
        "finished",
        "keyed",
        "last_id",
        "line",
        "name",
        "parked",
        "paths",
        "paused",
        "ready",
        "records",
        "running",
        "turns",
        "window",
        "windows",
    )

    def __init__(self, name: str, paths: Mapping[str, Paths]) -> None:
        self.name = name
        self.paths = paths
        self.paused = False
        self.last_id = 0
        self.records: dict[str, Record] = {}
        self.line = Line()
        self.parked: dict[str, Line] = {}
        """Jobs whose name was refused when they came up, by name: no claim meets them again before the name has a place."""
        self.keyed: dict[str, KeyedLines] = {}
        """Jobs of handlers that have a key, by name."""
        self.turns = Turns()
        self.running: Counter[tuple[str | None, str | None]] | None = None
        """Active jobs of the queue (None, None), of each name (name, None) and key; counted once a limit has asked for it."""
        self.windows: dict[tuple[str, str | None], Window] = {}
        self.ready = {"waiting": 0, "prioritized": 0}
        self.delayed: list[tuple[int, int, Record]] = []
        self.delayed_count = 0
        self.active: dict[str, Record] = {}
        self.window = Window()
        self.finished: dict[str, OrderedDict[str, Record]] = {"completed": OrderedDict(), "failed": OrderedDict()}
        """In the order they finished: a dict's own first key is slow to find once many before it are gone."""

    def counts(self) -> dict[str, int]:
        """Jobs in each state."""
        return {
            "waiting": self.ready["waiting"],
            "prioritized": self.ready["prioritized"],
            "delayed": self.delayed_count,
            "active": len(self.active),
            "completed": len(self.finished["completed"]),
            "failed": len(self.finished["failed"]),
            "waiting-children": 0,
        }

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self.active and not self.ready["waiting"] and not self.ready["prioritized"]

    def new_id(self) -> str:
        """The next number that no job has taken as an id of its own."""
        while True:
            self.last_id += 1
            if (id := str(self.last_id)) not in self.records:
                return id

    # Changing states --------------------------------------------------------------------------------------------

    def wait(self, record: Record) -> State:
        """Place a job among those that wait."""
        state: State = "prioritized" if record.priority else "waiting"
        record.state = state
        record.delay_until = None
        self.ready[state] += 1
        if self.paths and (paths := self.paths.get(record.name)):
            record.key = key_of(record.data, record.metadata, paths)
            self.keyed.setdefault(record.name, KeyedLines()).push(record)
        else:
            self.line.push(record)
        return state

    def resort(self) -> None:
        """Handlers have other keys than before: let everything that waits stand in its line."""
        waiting = sorted(
            (one for one in self.records.values() if one.state in READY), key=lambda one: (one.priority, one.rank)
        )
        self.line, self.parked, self.keyed = Line(), {}, {}
        self.ready = dict.fromkeys(self.ready, 0)
        for record in waiting:
            self.wait(record)

    def delay(self, record: Record, until: int) -> None:
        """Place a job among the delayed ones."""
        record.state = "delayed"
        record.delay_until = until
        self.delayed_count += 1
        heappush(self.delayed, (until, record.rank, record))

    def finish(self, record: Record, state: State, now: int) -> None:
        """Place a job among the finished ones."""
        record.state = state
        record.since = record.finished_at = now
        record.delay_until = None
        record.cancel_requested = False
        self.finished[state][record.id] = record

    def withdraw(self, record: Record) -> None:
        """Take a job out of the index of its state. It must be placed again, or removed."""
        state = record.state
        if state == "active":
            del self.active[record.id]
            record.token = None
            if self.running is not None:
                self.running.subtract(((None, None), (record.name, None), (record.name, record.key)))
        elif state in READY:
            self.ready[state] -= 1
            record.state = "active"  # so that its entry counts as stale from here on
            if (lines := self.keyed.get(record.name)) is not None:
                lines.discard(record.key)
            else:
                self.parked.get(record.name, self.line).discard()
        elif state == "delayed":
            self.delayed_count -= 1
            record.state = "active"
            self._sweep_delayed()
        else:
            del self.finished[state][record.id]

    def _sweep_delayed(self) -> None:
        if len(self.delayed) > 64 and len(self.delayed) > 2 * self.delayed_count:
            self.delayed = [entry for entry in self.delayed if self._is_delayed(entry)]
            heapify(self.delayed)

    def begin(self, record: Record) -> None:
        """Place a job that was taken among the active ones."""
        self.active[record.id] = record
        if self.running is not None:
            self.running.update(((None, None), (record.name, None), (record.name, record.key)))

    def run_now(self, name: str | None, key: str | None) -> int:
        """How many jobs of the queue, of a name, of a key are active."""
        if self.running is None:
            self.running = Counter()
            for one in self.active.values():
                self.running.update(((None, None), (one.name, None), (one.name, one.key)))
        return self.running[name, key]

    # Claiming ---------------------------------------------------------------------------------------------------

    def ripen(self, now: int) -> list[Record]:
        """Let delayed jobs that are due wait in their old place; gives them."""
        ripe: list[Record] = []
        delayed = self.delayed
        while delayed and delayed[0][0] <= now:
            entry = heappop(delayed)
            if self._is_delayed(entry):
                self.delayed_count -= 1
                entry[2].since = now
                self.wait(entry[2])
                ripe.append(entry[2])
        return ripe

    def next_due(self) -> int | None:
        """When the next delayed job comes due."""
        while self.delayed and not self._is_delayed(self.delayed[0]):
            heappop(self.delayed)
        return self.delayed[0][0] if self.delayed else None

    @staticmethod
    def _is_delayed(entry: tuple[int, int, Record]) -> bool:
        return entry[2].state == "delayed" and entry[2].delay_until == entry[0]

    def take(
        self, limit: int, admission: Admission, limits: Limits | None, now: int
    ) -> tuple[list[Record], int | None]:
        """Take the first jobs that `admission` has places for, their state is active then; and when a limit may have room again."""
        due: int | None = None
        if self.keyed or limits is not None:
            taken, due = FairShelf(self).claim(limit, admission, limits or NO_LIMITS, now)
        elif not self.parked and admission.covers(limit):
            taken = self.line.take(limit)
        else:
            taken = self.take_admitted(limit, admission)
        ready = self.ready
        for record in taken:
            ready["prioritized" if record.priority else "waiting"] -= 1
        return taken, due

    def take_admitted(self, limit: int, admission: Admission) -> list[Record]:
        if len(self.parked) == 1 and not self.line:
            # All that waits is of one name, as it is in a queue of one handler once that was full.
            [(name, line)] = self.parked.items()
            only = line.take(admission.take_some(name, limit))
            if not line:
                self.parked = {}
            return only
        lines = [self.line, *(line for name, line in self.parked.items() if admission.admits(name))]
        heads = [(*entry[:2], index) for index, line in enumerate(lines) if (entry := line.peek())]
        heapify(heads)
        taken: list[Record] = []
        while heads and len(taken) < limit:
            line = lines[heads[0][2]]
            if not self._take_first(line, admission, taken) and line is not self.line:
                heappop(heads)  # a name that this claim has no place for any more
            elif entry := line.peek():
                heapreplace(heads, (*entry[:2], heads[0][2]))
            else:
                heappop(heads)
        self.parked = {name: line for name, line in self.parked.items() if line}
        return taken

    def _take_first(self, line: Line, admission: Admission, taken: list[Record]) -> bool:
        """Take the first job of a line, or put it with the others of its name."""
        record = line.pop()
        if record is None:
            return True
        if not admission.take(record.name):
            self.parked.setdefault(record.name, Line()).push(record)
            return False
        record.state = "active"
        taken.append(record)
        return True

    # Looking and clearing -----------------------------------------------------------------------------------------

    def has_more(self, admission: Admission) -> bool:
        """Whether a job may be left that `admission` would have taken."""
        if any(admission.admits(name) and lines.keys for name, lines in self.keyed.items()):
            return True
        return bool(self.line) or any(admission.admits(name) for name, line in self.parked.items() if line)

    def surplus(self, state: State, keep: Keep, now: int) -> list[Record]:
        """The finished jobs that `keep` gives up, the oldest first."""
        finished = self.finished[state]
        excess = 0 if keep.count is None else len(finished) - keep.count
        if keep.age_ms is None and excess <= 0:
            return []
        surplus: list[Record] = []
        for record in finished.values():
            too_old = keep.age_ms is not None and now - (record.finished_at or 0) > keep.age_ms
            if len(surplus) >= excess and not too_old:
                break
            surplus.append(record)
        return surplus
