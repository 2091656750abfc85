"""`jobhost schedules pause`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client


@click.command("pause", epilog=examples("jobhost schedules pause nightly"))
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@store_options
def command(store: Store, ids: tuple[str, ...]) -> None:
    """Let schedules give no jobs until they are resumed."""

    async def work(jobs: Client) -> None:
        for id in ids:
            await jobs.schedules.pause(id)
            click.echo(f"{id}: paused", err=True)

    with_client(store, work)
