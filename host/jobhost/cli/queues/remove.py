"""`jobhost queues remove`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client
from jobhost.client import Client


@click.command("remove", epilog=examples("jobhost queues remove old", "jobhost queues remove old --yes"))
@click.argument("name")
@store_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(store: Store, name: str, yes: bool) -> None:
    """Delete a queue with all its jobs, logs and job state; it must have no running jobs. Prints how many jobs it had."""

    async def jobs_in(jobs: Client) -> int:
        return sum((await jobs.counts(name)).values())

    if not yes:
        count = with_client(store, jobs_in)
        click.confirm(f"Delete queue {name} with its {count} jobs?", abort=True, err=True)
    click.echo(with_client(store, lambda jobs: jobs.remove_queue(name)))
