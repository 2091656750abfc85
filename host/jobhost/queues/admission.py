"""What a host has room for, as plain data that travels into a claim.

A claim runs inside a backend, maybe on another thread, maybe in one transaction; it can't ask the host about every
candidate. So the host hands over a snapshot: groups of handler names that share a number of free places.
"""

from __future__ import annotations

from collections.abc import Iterable


class Admission:
    """Decides, name by name, what one claim may take, and counts it off. Used by one claim and thrown away.

    `groups`: pairs of (names, free places). A name may be in several groups (its handler's own limit, its pool's) and is
    admitted while all have a place. A name in no group is always admitted: the host fails or releases it without running it.
    `others`: free places for names in no group (None: as many as the claim's limit allows).
    """

    __slots__ = ("_free", "_groups_of", "_others")

    def __init__(self, groups: Iterable[tuple[Iterable[str], int]] = (), others: int | None = None) -> None:
        self._free: list[int] = []
        self._groups_of: dict[str, list[int]] = {}
        self._others = others
        for names, free in groups:
            index = len(self._free)
            self._free.append(free)
            for name in names:
                self._groups_of.setdefault(name, []).append(index)

    @property
    def short(self) -> bool:
        """Whether some names have no place."""
        return any(free <= 0 for free in self._free) or self._others == 0

    def copy(self) -> Admission:
        """Give one that counts for itself: a claim that has to be tried again starts from the same places."""
        copy = Admission(others=self._others)
        copy._free = self._free.copy()
        copy._groups_of = self._groups_of.copy()
        return copy

    def covers(self, count: int) -> bool:
        """Whether `count` jobs have a place whatever their names are: then nobody needs to look at them."""
        return (self._others is None or self._others >= count) and all(free >= count for free in self._free)

    def limit(self, names: Iterable[str], free: int) -> None:
        """Let a group have no more than so many places."""
        index = len(self._free)
        self._free.append(free)
        for name in names:
            self._groups_of[name] = [*self._groups_of.get(name, ()), index]

    def admits(self, name: str) -> bool:
        """Whether one more job of this name may be taken; takes nothing."""
        groups = self._groups_of.get(name)
        if groups is None:
            return self._others is None or self._others > 0
        return all(self._free[index] > 0 for index in groups)

    def take(self, name: str) -> bool:
        """Count off a place for one job of this name; False if there is none."""
        if not self.admits(name):
            return False
        groups = self._groups_of.get(name)
        if groups is None:
            if self._others is not None:
                self._others -= 1
        else:
            for index in groups:
                self._free[index] -= 1
        return True

    def take_some(self, name: str, count: int) -> int:
        """Count off places for up to `count` jobs of this name, all of which are there; gives for how many."""
        groups = self._groups_of.get(name)
        if groups is None:
            some = count if self._others is None else max(0, min(count, self._others))
            if self._others is not None:
                self._others -= some
            return some
        some = max(0, min(count, *(self._free[index] for index in groups)))
        for index in groups:
            self._free[index] -= some
        return some

    def told(self) -> tuple[list[tuple[int, list[str]]], int | None]:
        """The groups as (free places, names), and the places for others: for a store that counts them off itself."""
        groups: list[tuple[int, list[str]]] = [(free, []) for free in self._free]
        for name, indexes in self._groups_of.items():
            for index in indexes:
                groups[index][1].append(name)
        return groups, self._others

    def exhausted(self) -> frozenset[str]:
        """Known names that have no place now. Empty, as a rule: then a claim needs no filter at all."""
        full = {index for index, free in enumerate(self._free) if free <= 0}
        if not full:
            return frozenset()
        return frozenset(name for name, groups in self._groups_of.items() if any(index in full for index in groups))
