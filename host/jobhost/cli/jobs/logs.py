"""`jobhost jobs logs`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.lines import LEVELS, log_text
from jobhost.cli.output import json_text
from jobhost.cli.session import Store, json_option, queue_option, store_options, with_client
from jobhost.client import Client


@click.command(
    "logs",
    epilog=examples(
        "jobhost jobs logs 7 -f", "jobhost jobs logs 7 --level warning", "jobhost jobs logs 7 --json | jq -r .message"
    ),
)
@click.argument("id")
@store_options
@queue_option
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Only lines of this level and above.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until the job has finished.")
@json_option
def command(store: Store, id: str, queue: str, level: str, follow: bool, as_json: bool) -> None:
    """Print the log of a job, from whichever host runs it; with --json one object a line."""
    from jobhost.tail import job_lines

    async def work(jobs: Client) -> None:
        async for line in job_lines(jobs, id, queue, level, follow):
            click.echo(json_text(line) if as_json else log_text(line))

    with_client(store, work)
