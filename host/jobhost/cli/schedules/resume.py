"""`jobhost schedules resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client


@click.command("resume", epilog=examples("jobhost schedules resume nightly"))
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@store_options
def command(store: Store, ids: tuple[str, ...]) -> None:
    """Let paused schedules go on. What would have come meanwhile is not made up for."""

    async def work(jobs: Client) -> None:
        for id in ids:
            await jobs.schedules.resume(id)
            click.echo(f"{id}: resumed", err=True)

    with_client(store, work)
