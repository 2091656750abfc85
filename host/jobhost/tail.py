"""Log lines of jobs and flows as they come, from whichever host writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from jobhost.errors import JobNotFoundError
from jobhost.listings import Listing

if TYPE_CHECKING:
    from jobhost.client import Client

LEVELS = ("debug", "info", "warning", "error")


def at_least(line: Listing, level: str) -> bool:
    """Whether a line is of a level or above."""
    return LEVELS.index(line["level"]) >= LEVELS.index(level) if line["level"] in LEVELS else True


async def job_lines(
    jobs: Client, id: str, queue: str = "default", level: str = "debug", follow: bool = False
) -> AsyncIterator[Listing]:
    """Lines of a job. `follow`: go on until it has finished. Raises JobNotFoundError."""
    after = 0
    async with aclosing(jobs.watch.changes(queue, id)) as changes:
        async for _ in changes:
            job = await jobs.backend.get(queue, id)
            for number, line in await jobs.logs(id, queue, after):
                after = number
                if at_least(line, level):
                    yield line
            if job is None and not after:
                raise JobNotFoundError(f"there is no job {id!r} in queue {queue!r}")
            # The job was looked at before its lines: what it had written by its end has been read.
            if not follow or job is None or job.state in ("completed", "failed"):
                return


async def flow_lines(
    jobs: Client, id: str, step: str | None = None, level: str = "debug", follow: bool = False
) -> AsyncIterator[Listing]:
    """Lines of all jobs of a flow, each with its `step`, `queue` and `job_id`; those that are there at one look in the order of
    their times. `follow`: go on until the flow has ended. Raises FlowNotFoundError."""
    flow = jobs.flow(id)
    after: dict[tuple[str, str], int] = {}
    done: set[tuple[str, str]] = set()
    async with aclosing(flow.news()) as news:
        async for _ in news:
            status = (await flow.info())["status"]
            found: list[Listing] = []
            for job in await jobs.backend.flow_jobs(id):
                place = (job.queue, job.id)
                if place in done or step not in (None, job.name):
                    continue
                for number, line in await jobs.logs(job.id, job.queue, after.get(place, 0)):
                    after[place] = number
                    found.append({**line, "step": job.name, "queue": job.queue, "job_id": job.id})
                if job.state in ("completed", "failed") and status == "running":
                    done.add(place)
            for line in sorted(found, key=lambda line: line["ts"]):
                if at_least(line, level):
                    yield line
            if not follow or status != "running":
                return
