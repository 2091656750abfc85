"""`jobhost jobs cancel`."""

from __future__ import annotations

import click

from jobhost.cli.jobs.each import for_each
from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, queue_option, store_options
from jobhost.client import Client

_NOT = {"finished": "it has finished already", "missing": "there is no such job"}


@click.command("cancel", epilog=examples("jobhost jobs cancel 7", "jobhost jobs cancel 7 8 9 -q images"))
@click.argument("ids", nargs=-1, required=True)
@store_options
@queue_option
def command(store: Store, ids: tuple[str, ...], queue: str) -> None:
    """Cancel jobs: they fail with CancelledError. The host of a running one is asked to stop it. Prints the ids."""

    async def change(jobs: Client, id: str) -> str | None:
        became = await jobs.cancel(id, queue)
        if became == "requested":
            click.echo(f"job {id} is running: its host was asked to stop it", err=True)
        return _NOT.get(became)

    for_each(store, ids, queue, change)
