"""Handlers that require others: set aside until those are there, here or at another host.

While one is set aside its jobs wait, and so do jobs of names that nobody knows, as they do for a bundle that can't be loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..catalogue import Entry, Problem
from ..errors import BackendUnavailableError
from ..requires import problems_of, split

if TYPE_CHECKING:
    from .host import Host

LOOK_EVERY = 5.0
"""Seconds between looks for what other hosts have published meanwhile."""


class Required:
    """One a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._aside: list[Entry] = []
        self._published: set[str] = set()
        self._told: list[Problem] = []

    def hold(self, entries: Sequence[Entry]) -> list[Entry]:
        """Set aside those that require others; gives the rest."""
        self._aside += [entry for entry in entries if entry.settings.requires]
        return [entry for entry in entries if not entry.settings.requires]

    def look(self) -> None:
        """Serve those whose required handlers are there by now."""
        if not self._aside:
            return
        host = self._host
        met, self._aside = split(self._aside, self._known())
        if host.all_loaded:
            self._tell()
        if met:
            host.took_in(host.catalogue.add(met))

    async def settle(self) -> None:
        """Every bundle has answered or given up: ask what others have, and tell what is missing."""
        if self._aside:
            await self._ask()
            self.look()
            self._tell()
        if self._aside:
            self._host.spawn(self._look_on())

    async def _look_on(self) -> None:
        while self._aside:
            await asyncio.sleep(LOOK_EVERY)
            await self._ask()
            self.look()

    async def _ask(self) -> None:
        try:
            self._published = {handler.name for handler in await self._host.backend.published()}
        except BackendUnavailableError as error:
            self._host.backend_trouble(error)

    def _known(self) -> set[str]:
        return self._published.union(self._host.catalogue.names())

    def _tell(self) -> None:
        """Put what is missing now in the place of what was told before."""
        catalogue, missing = self._host.catalogue, self._host.bundles.missing
        found = problems_of(self._aside, self._known())
        for problem in found:
            if problem not in self._told:
                self._host.log.error("handler.problem", file=problem.file, line=problem.line, error=problem.error)
        catalogue.problems[:] = [problem for problem in catalogue.problems if problem not in self._told] + found
        self._told = found
        missing.difference_update([name for name in missing if name.startswith(MARK)])
        missing.update(f"{MARK}{entry.name}" for entry in self._aside)


MARK = "handler "
"""Begins the names that stand for handlers among the bundles that are missing."""
