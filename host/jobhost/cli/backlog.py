"""`jobhost check --backlog`: jobs that wait, before the schemas that their handlers have now."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jobhost.backlog import Backlog
    from jobhost.catalogue import Catalogue
    from jobhost.config.document import Config


async def look(config: Config, limit: int | None, published: Collection[str]) -> tuple[Catalogue, Backlog]:
    """Start the bundles, and put to them what waits in the store; on a terminal with a bar."""
    from jobhost.backlog import check_backlog
    from jobhost.client import Client
    from jobhost.probe import Loaded

    from .bar import Bar

    bar = Bar()
    async with Client(config=config) as jobs, Loaded(config, published) as loaded:
        try:
            return loaded.catalogue, await check_backlog(jobs.backend, loaded.catalogue, limit, bar.show)
        finally:
            bar.clear()


def show(found: Backlog) -> None:
    """For people: the jobs of each handler that would be refused, and how many were looked at."""
    from jobhost.logs import printable

    for each in found.refused.values():
        click.echo(printable(f"handler {each.handler!r} would refuse {each.count:,} {_jobs(each.count)} that wait:"))
        for job, fields in each.first:
            told = "; ".join(
                f"{item['field']}: {item['message']}" if item["field"] else item["message"] for item in fields
            )
            click.echo(printable(f"  {job.id} in {job.queue}: {told}"))
        if each.count > len(each.first):
            click.echo(f"  and {each.count - len(each.first):,} more")
    for name, error in found.errors.items():
        click.echo(printable(f"handler {name!r}: its jobs could not be checked: {error}"))
    told = (
        f"{found.looked:,} {_jobs(found.looked)} that wait{'' if found.looked != 1 else 's'}: {found.checked:,} checked"
    )
    more = "" if found.complete else "; there may be older ones (--limit)"
    click.echo(f"{told}, {found.unchecked:,} without a schema, {found.unknown:,} of no handler here{more}")


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"
