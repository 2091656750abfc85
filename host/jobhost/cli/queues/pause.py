"""`jobhost queues pause`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client
from jobhost.client import Client


@click.command("pause", epilog=examples("jobhost queues pause default", "jobhost queues pause images mails"))
@click.argument("names", nargs=-1, required=True)
@store_options
def command(store: Store, names: tuple[str, ...]) -> None:
    """Let no host take jobs from queues until they are resumed; running jobs go on."""

    async def work(jobs: Client) -> None:
        for name in names:
            await jobs.pause(name)

    with_client(store, work)
