"""`jobhost breakers close`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client
from jobhost.client import Client


@click.command("close", epilog=examples("jobhost breakers close stripe"))
@click.argument("names", nargs=-1, required=True)
@store_options
def command(store: Store, names: tuple[str, ...]) -> None:
    """Close breakers, and forget what they counted. Prints those that were open."""

    async def work(jobs: Client) -> None:
        for name in names:
            if await jobs.breakers.close(name):
                click.echo(name)
            else:
                click.echo(f"breaker {name} is closed", err=True)

    with_client(store, work)
