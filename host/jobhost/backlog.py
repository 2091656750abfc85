"""Which jobs that wait would be refused by the schemas that their handlers have now.

Each job's data goes to the SDK that would check it, by the wire's `validate`; nothing is run and nothing is changed. Jobs that are
added or end meanwhile may or may not be among those that are looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobhost_runtimes.errors import ChildStartError

from .catalogue import Catalogue, Entry
from .queues.job import Job, State
from .queues.seam import Backend

WAITING: tuple[State, ...] = ("waiting", "prioritized", "delayed")
PAGE = 500
"""Jobs that are read, and checked, together at first."""
MOST_OF_A_PAGE, BYTES_OF_A_PAGE = 10_000, 32 * 1024 * 1024
"""Then as many as these allow: on Redis each page costs as much as the whole line of ids."""
AT_ONCE = 32
"""Checks of a page that are under way; a child works them one after the other."""
MOST_SHOWN = 5
"""Refused jobs of a handler that are told one by one."""
Fields = list[dict[str, str]]


@dataclass(slots=True)
class Refusals:
    """What a handler would refuse: how many, and the first of them as (job, fields)."""

    handler: str
    count: int = 0
    first: list[tuple[Job, Fields]] = field(default_factory=list)


@dataclass(slots=True)
class Backlog:
    """What was found. `unchecked`: jobs whose handler has no `input`; `unknown`: jobs that no handler here serves."""

    looked: int = 0
    checked: int = 0
    unchecked: int = 0
    unknown: int = 0
    complete: bool = True
    """Every job that waited was looked at."""
    refused: dict[str, Refusals] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """Handlers whose check could not be made, and why: their jobs were not all checked."""

    @property
    def ok(self) -> bool:
        return not self.refused and not self.errors

    def listing(self) -> dict[str, Any]:
        """As `check --backlog --json` shows it."""
        handlers = [
            {
                "name": each.handler,
                "refused": each.count,
                "jobs": [{"queue": job.queue, "id": job.id, "fields": fields} for job, fields in each.first],
            }
            for each in self.refused.values()
        ]
        counts = {"checked": self.checked, "unchecked": self.unchecked, "unknown": self.unknown}
        refused = sum(each.count for each in self.refused.values())
        told = {"complete": self.complete, "refused": refused, "handlers": handlers, "errors": self.errors}
        return {"ok": self.ok, "looked_at": self.looked, **counts, **told}


async def check_backlog(
    backend: Backend, catalogue: Catalogue, limit: int | None = None, progress: Callable[[float], None] | None = None
) -> Backlog:
    """Look at the jobs that wait, in all queues, the newest first, at most `limit`. `progress` gets the share that is done, 0 to 100.

    The handlers of `catalogue` have to be running. Raises BackendUnavailableError.
    """
    found = Backlog()
    total = sum(info.counts[state] for info in await backend.queues() for state in WAITING)
    cursor: str | None = None
    size = 0
    while limit is None or found.looked < limit:
        page = _page(found.looked, size)
        most = page if limit is None else min(page, limit - found.looked)
        jobs, cursor = await backend.jobs(None, WAITING, most, cursor)
        size += sum(len(job.data) for job in jobs)
        await _check(jobs, catalogue, found)
        if progress is not None:
            progress(100 * found.looked / max(1, min(total, limit or total)))
        if cursor is None:
            return found
    found.complete = False
    return found


def _page(looked: int, size: int) -> int:
    """How many jobs to read next, from how many bytes those so far had."""
    if not looked:
        return PAGE
    return max(1, min(MOST_OF_A_PAGE, BYTES_OF_A_PAGE * looked // max(size, 1)))


async def _check(jobs: list[Job], catalogue: Catalogue, found: Backlog) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(job: Job) -> tuple[Entry, Job, Fields] | None:
        entry = catalogue.find(job.name, job.queue)
        found.looked += 1
        if entry is None or entry.runtime is None:
            found.unknown += 1
            return None
        if entry.settings.input is None:
            found.unchecked += 1
            return None
        async with turns:
            if entry.name in found.errors:
                return None
            try:
                return entry, job, await entry.runtime.validate(entry.handler, job.data)
            except ChildStartError as error:
                found.errors[entry.name] = str(error)
                return None

    for told in await asyncio.gather(*map(one, jobs)):
        if told is not None:
            entry, job, fields = told
            found.checked += 1
            if fields:
                _refused(found, entry.name, job, fields)


def _refused(found: Backlog, handler: str, job: Job, fields: Fields) -> None:
    refusals = found.refused.setdefault(handler, Refusals(handler))
    refusals.count += 1
    if len(refusals.first) < MOST_SHOWN:
        refusals.first.append((job, fields))
