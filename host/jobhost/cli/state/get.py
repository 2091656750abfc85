"""`jobhost state get`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import print_json
from jobhost.cli.session import Store, json_option, store_options, with_client

_MISSING = object()


@click.command(
    "get", epilog=examples("jobhost state get global rate", "jobhost state get handler:handlers:resize last")
)
@click.argument("scope")
@click.argument("key")
@store_options
@json_option
def command(store: Store, scope: str, key: str, as_json: bool) -> None:
    """Print a value as JSON. Exit code 1 if there is none."""
    del as_json  # it is JSON anyway
    value = with_client(store, lambda jobs: jobs.state.get(scope, key, _MISSING))
    if value is _MISSING:
        click.echo(f"error: {scope} has no key {key}", err=True)
        raise click.exceptions.Exit(1)
    print_json(value)
