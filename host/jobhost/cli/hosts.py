"""`jobhost hosts`."""

from __future__ import annotations

import click

from .lazy import examples
from .output import age, print_json, print_table
from .session import Store, json_option, store_options, with_client


@click.command("hosts", epilog=examples("jobhost hosts", "jobhost hosts --json"))
@store_options
@json_option
def command(store: Store, as_json: bool) -> None:
    """List the hosts that were heard of within two minutes, with their queues and runs."""
    found = with_client(store, lambda jobs: jobs.hosts())
    if as_json:
        print_json(found)
        return
    headers = ("HOST", "QUEUES", "RUNS", "STARTED", "HEARD OF")
    rows = [
        (
            host["id"],
            ", ".join(host.get("queues", ())),
            host.get("runs"),
            age(host["started_at"]),
            age(host["heartbeat_at"]),
        )
        for host in found
    ]
    print_table(headers, rows)
