"""`jobhost state set`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.payload import json_value
from jobhost.cli.session import Store, store_options, with_client


@click.command(
    "set", epilog=examples("jobhost state set global rate 5", "jobhost state set global rate '{\"a\": 1}' --ttl 1h")
)
@click.argument("scope")
@click.argument("key")
@click.argument("value", metavar="JSON")
@store_options
@click.option("--ttl", metavar="DURATION", help="Forget it after so long: 30s, 1h.")
def command(store: Store, scope: str, key: str, value: str, ttl: str | None) -> None:
    """Store a value, which is JSON."""
    new = json_value(value)
    with_client(store, lambda jobs: jobs.state.set(scope, key, new, ttl))
