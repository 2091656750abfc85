"""`jobhost dead list`."""

from __future__ import annotations

import click

from jobhost.cli.dead.which import letters_queue, which_options
from jobhost.cli.lazy import examples
from jobhost.cli.output import age, print_json_array, print_table
from jobhost.cli.session import Store, json_option, store_options, with_client
from jobhost.client import Client
from jobhost.dead_letters import Which
from jobhost.listings import Listing


@click.command(
    "list", epilog=examples("jobhost dead list", "jobhost dead list --from orders --error ConnectionError --json")
)
@store_options
@letters_queue
@which_options
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many letters.")
@json_option
def command(store: Store, queue: str | None, which: Which, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first."""

    async def work(jobs: Client) -> None:
        if as_json:
            await print_json_array(jobs.dead.find(which, queue, limit))
            return
        found = [letter async for letter in jobs.dead.find(which, queue, limit)]
        print_table(
            ("ID", "QUEUE", "NAME", "FROM", "TRIED", "FAILED", "REPLAYED", "ERROR"), [_row(letter) for letter in found]
        )
        if not found and queue is None and not await jobs.dead.queues():
            click.echo('no queue of dead letters is known: set dead_letter = "NAME" for a queue, or say -q', err=True)

    with_client(store, work)


def _row(letter: Listing) -> tuple[object, ...]:
    error, origin = letter["error"], letter["origin"]
    text = f"{error.get('type')}: {error.get('message')}" if isinstance(error, dict) else ""
    source = f"{origin['queue']} {origin['id']}"
    tried, failed = letter["attempts_made"], age(letter["failed_at"])
    return letter["id"], letter["queue"], letter["name"], source, tried, failed, letter["replayed"] or "", text
