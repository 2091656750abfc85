"""`jobhost flow restart`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import line_of
from jobhost.cli.session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client
    from jobhost.listings import Listing


@click.command("restart", epilog=examples("jobhost flow restart ID", "jobhost flow restart ID --step charge"))
@click.argument("id")
@store_options
@click.option("--step", help="Only failed jobs of this step.")
def command(store: Store, id: str, step: str | None) -> None:
    """Let the failed jobs of a flow run again, with all their attempts. What succeeded is not done again.

    Exit code 1 if no failed job of it is left.
    """

    async def work(jobs: Client) -> list[Listing]:
        return await jobs.flow(id).restart(step)

    retried = with_client(store, work)
    for job in retried:
        click.echo(f"{line_of(job['name'])} {job['queue']}:{line_of(job['id'])} runs again", err=True)
    if not retried:
        click.echo("no failed job of it is left" if step is None else f"no failed job of step {step} is left", err=True)
        raise click.exceptions.Exit(1)
