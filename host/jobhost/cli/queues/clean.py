"""`jobhost queues clean`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client
from jobhost.queues.job import STATES, State

_CLEANABLE = [state for state in STATES if state != "active"]


@click.command(
    "clean",
    epilog=examples(
        "jobhost queues clean default --older-than 7d",
        "jobhost queues clean default --state failed --limit 1000",
    ),
)
@click.argument("name")
@store_options
@click.option("-s", "--state", type=click.Choice(_CLEANABLE), default="completed", show_default=True)
@click.option(
    "--older-than", default="0s", metavar="DURATION", help="Only jobs that have been in the state so long: 12h, 7d."
)
@click.option("-n", "--limit", type=click.IntRange(0), default=0, help="At most so many, the oldest first; 0 is all.")
def command(store: Store, name: str, state: State, older_than: str, limit: int) -> None:
    """Delete jobs in one state, by age and count. Prints how many."""
    click.echo(with_client(store, lambda jobs: jobs.clean(name, state, older_than, limit)))
