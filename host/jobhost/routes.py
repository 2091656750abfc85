"""Routing: which queue a job goes to where its producer does not say. The first of `[[routes]]` that fits decides.

Nothing is built of a payload but what the paths name. A queue need not be there before: hosts serve those that they name, patterns
included (`[queues."orders-*"]`).
"""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Sequence
from typing import Any

from .config.routes import Route
from .errors import PayloadError
from .queues.job import Json
from .queues.limits import key_of, paths_of
from .queues.seam import Backend

_PLACE = re.compile(r"\{([^{}]*)\}")
_BUSY = ("waiting", "prioritized", "active", "delayed")
LOADS_LAST = 1.0
"""Seconds for which the load of a queue is remembered; what is sent there meanwhile counts on top."""


class Router:
    """The routes of one configuration, over one store."""

    def __init__(self, backend: Backend, routes: Sequence[Route]) -> None:
        self._backend = backend
        self._routes = routes
        self._loads: dict[str, int] = {}
        self._loads_at = float("-inf")

    async def queue(self, name: str, data: Json, metadata: Json | None) -> str | None:
        """The queue of a job; None where no route fits. Raises PayloadError if the job lacks what the queue is named by."""
        for route in self._routes:
            if _fits(route, name, data, metadata):
                if isinstance(route.to, str):
                    return _named(route.to, data, metadata)
                return await self._least([_named(each, data, metadata) for each in route.to])
        return None

    async def _least(self, queues: Sequence[str]) -> str:
        now = time.monotonic()
        if now - self._loads_at > LOADS_LAST:
            self._loads, self._loads_at = {}, now
        for queue in queues:
            if queue not in self._loads:
                counts = await self._backend.counts(queue)
                self._loads[queue] = sum(counts[state] for state in _BUSY)
        least = min(queues, key=lambda queue: self._loads[queue])
        self._loads[least] += 1
        return least


def _fits(route: Route, name: str, data: Json, metadata: Json | None) -> bool:
    if not any(fnmatch.fnmatchcase(name, pattern) for pattern in route.name):
        return False
    return all(_holds(key_of(data, metadata, paths_of(path)), wanted) for path, wanted in route.when.items())


def _holds(found: str, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(found == _text(each) for each in wanted)
    try:
        number = float(found)
    except ValueError:
        return False
    return bool(wanted.get("above", float("-inf")) < number < wanted.get("below", float("inf")))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(pattern: str, data: Json, metadata: Json | None) -> str:
    def part(place: re.Match[str]) -> str:
        found = key_of(data, metadata, paths_of(place[1]))
        if not found:
            raise PayloadError(f"the route to {pattern!r} needs {place[1]}, and the job has none")
        return re.sub(r"[^A-Za-z0-9_.-]", "_", found)

    return _PLACE.sub(part, pattern)
