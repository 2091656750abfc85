"""`jobhost queues list`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import print_json, print_table
from jobhost.cli.session import Store, json_option, store_options, with_client

_SHOWN = ("waiting", "prioritized", "active", "delayed", "completed", "failed")


@click.command("list", epilog=examples("jobhost queues list", "jobhost queues list --json"))
@store_options
@json_option
def command(store: Store, as_json: bool) -> None:
    """List queues with the number of jobs in each state."""
    found = with_client(store, lambda jobs: jobs.queues())
    if as_json:
        print_json(found)
        return
    headers = ("QUEUE", "PAUSED", *(state.upper() for state in _SHOWN))
    print_table(
        headers,
        [
            (queue["name"], "yes" if queue["paused"] else "no", *(queue["counts"].get(state, 0) for state in _SHOWN))
            for queue in found
        ],
    )
