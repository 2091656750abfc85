"""`jobhost schedules remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client


@click.command("remove", epilog=examples("jobhost schedules remove nightly"))
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@store_options
def command(store: Store, ids: tuple[str, ...]) -> None:
    """Delete schedules; the jobs that they have given are not touched."""
    from jobhost.errors import ScheduleNotFoundError

    async def work(jobs: Client) -> None:
        for id in ids:
            if not await jobs.schedules.remove(id):
                raise ScheduleNotFoundError(f"there is no schedule {id!r}")
            click.echo(f"{id}: removed", err=True)

    with_client(store, work)
