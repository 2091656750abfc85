"""`jobhost jobs logs`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.lines import log_text
from jobhost.cli.output import json_text
from jobhost.cli.session import Store, json_option, queue_option, store_options, with_client
from jobhost.client import Client
from jobhost.listings import Listing


@click.command("logs", epilog=examples("jobhost jobs logs 7", "jobhost jobs logs 7 --json | jq -r .message"))
@click.argument("id")
@store_options
@queue_option
@json_option
def command(store: Store, id: str, queue: str, as_json: bool) -> None:
    """Print the log of a job; with --json one object a line."""

    async def work(jobs: Client) -> list[Listing]:
        await jobs.get(id, queue)
        return [line for _number, line in await jobs.logs(id, queue)]

    for line in with_client(store, work):
        click.echo(json_text(line) if as_json else log_text(line))
