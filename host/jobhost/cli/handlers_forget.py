"""`jobhost handlers forget`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .lazy import examples
from .session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client


@click.command("forget", epilog=examples("jobhost handlers forget order.archive"))
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@store_options
def command(store: Store, names: tuple[str, ...]) -> None:
    """Forget handlers that hosts have published: emits give them no more jobs, and producers no longer know their queues.

    A host that still has one publishes it again when it starts. Exit code 1 if none of them was known.
    """

    async def work(jobs: Client) -> int:
        return await jobs.forget_handlers(*names)

    forgotten = with_client(store, work)
    click.echo(f"{forgotten} forgotten", err=True)
    if not forgotten:
        raise click.exceptions.Exit(1)
