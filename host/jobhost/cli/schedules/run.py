"""`jobhost schedules run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client


@click.command("run", epilog=examples("jobhost schedules run nightly"))
@click.argument("id")
@store_options
def command(store: Store, id: str) -> None:
    """Give one job of a schedule now, besides its ticks; prints its id."""

    async def work(jobs: Client) -> str:
        return str((await jobs.schedules.run(id)).id)

    click.echo(with_client(store, work))
