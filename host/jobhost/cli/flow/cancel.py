"""`jobhost flow cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client


@click.command("cancel", epilog=examples("jobhost flow cancel 018f3a2b77c5a1b2c3d4e5"))
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@store_options
def command(store: Store, ids: tuple[str, ...]) -> None:
    """Cancel flows with their sub-flows: waiting jobs fail, running ones are told to stop, and nothing they emit counts.

    Exit code 1 if one of them had ended already.
    """

    async def work(jobs: Client) -> bool:
        ok = True
        for id in ids:
            cancelled = await jobs.flow(id).cancel()
            click.echo(f"{id}: {'cancelled' if cancelled else 'had ended'}", err=True)
            ok = ok and cancelled
        return ok

    if not with_client(store, work):
        raise click.exceptions.Exit(1)
