"""`jobhost queues drain`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client


@click.command("drain", epilog=examples("jobhost queues drain default", "jobhost queues drain images --delayed"))
@click.argument("name")
@store_options
@click.option("--delayed", is_flag=True, help="The delayed jobs too.")
def command(store: Store, name: str, delayed: bool) -> None:
    """Delete the jobs that wait; running and finished ones stay. Prints how many."""
    click.echo(with_client(store, lambda jobs: jobs.drain(name, delayed)))
