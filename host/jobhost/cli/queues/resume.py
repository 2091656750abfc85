"""`jobhost queues resume`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client
from jobhost.client import Client


@click.command("resume", epilog=examples("jobhost queues resume default", "jobhost queues resume images mails"))
@click.argument("names", nargs=-1, required=True)
@store_options
def command(store: Store, names: tuple[str, ...]) -> None:
    """Let hosts take jobs from queues again."""

    async def work(jobs: Client) -> None:
        for name in names:
            await jobs.resume(name)

    with_client(store, work)
