"""`jobhost jobs remove`."""

from __future__ import annotations

import click

from jobhost.cli.jobs.each import for_each
from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, queue_option, store_options
from jobhost.client import Client


@click.command("remove", epilog=examples("jobhost jobs remove 7", "jobhost jobs remove 7 8 9 -q images"))
@click.argument("ids", nargs=-1, required=True)
@store_options
@queue_option
def command(store: Store, ids: tuple[str, ...], queue: str) -> None:
    """Delete jobs with their logs and state; running ones must be cancelled first. Prints the ids that are gone."""

    async def change(jobs: Client, id: str) -> str | None:
        return None if await jobs.remove(id, queue) else "there is no such job"

    for_each(store, ids, queue, change)
