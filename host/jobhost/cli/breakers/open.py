"""`jobhost breakers open`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client


@click.command("open", epilog=examples("jobhost breakers open stripe --for 30m"))
@click.argument("name")
@store_options
@click.option(
    "--for", "open_for", default="30s", show_default=True, metavar="DURATION", help="How long, until one run is tried."
)
def command(store: Store, name: str, open_for: str) -> None:
    """Let nothing run behind a breaker for a while: its handlers' jobs wait. Prints its name."""
    with_client(store, lambda jobs: jobs.breakers.open(name, open_for))
    click.echo(name)
