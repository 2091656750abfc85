"""`jobhost jobs promote`."""

from __future__ import annotations

import click

from jobhost.cli.jobs.each import for_each, why_not
from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, queue_option, store_options
from jobhost.client import Client


@click.command("promote", epilog=examples("jobhost jobs promote 7", "jobhost jobs promote 7 8 9 -q images"))
@click.argument("ids", nargs=-1, required=True)
@store_options
@queue_option
def command(store: Store, ids: tuple[str, ...], queue: str) -> None:
    """Let delayed jobs run now. Prints the ids that it was done for."""

    async def change(jobs: Client, id: str) -> str | None:
        return None if await jobs.promote(id, queue) else await why_not(jobs, id, queue, "delayed")

    for_each(store, ids, queue, change)
