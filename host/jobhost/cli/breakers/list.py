"""`jobhost breakers list`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import age, print_json, print_table
from jobhost.cli.session import Store, json_option, store_options, with_client


@click.command("list", epilog=examples("jobhost breakers list", "jobhost breakers list --json"))
@store_options
@json_option
def command(store: Store, as_json: bool) -> None:
    """List the breakers of published handlers, and all that are open."""
    found = with_client(store, lambda jobs: jobs.breakers.list())
    if as_json:
        print_json(found)
        return
    headers = ("BREAKER", "STATUS", "TRIED", "HANDLERS", "REASON")
    rows = [
        (one["name"], one["status"], age(one["until"]), ", ".join(one["handlers"]), one["reason"] or "")
        for one in found
    ]
    print_table(headers, rows)
