"""`jobhost jobs list`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import age, print_json_array, print_table
from jobhost.cli.session import Store, json_option, store_options, with_client
from jobhost.client import Client
from jobhost.listings import Listing
from jobhost.queues.job import STATES, State

_PAGE = 500
"""Jobs read at a time."""


@click.command(
    "list",
    epilog=examples(
        "jobhost jobs list --state failed",
        "jobhost jobs list -q images --limit 1000 --json | jq -r '.[].id'",
    ),
)
@store_options
@click.option("-q", "--queue", help="Only jobs of this queue.")
@click.option(
    "-s", "--state", "states", multiple=True, type=click.Choice(STATES), help="Only jobs in this state (repeatable)."
)
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many jobs.")
@click.option("--cursor", help="Go on where an earlier list ended.")
@json_option
def command(
    store: Store, queue: str | None, states: tuple[State, ...], limit: int, cursor: str | None, as_json: bool
) -> None:
    """List jobs of all queues and states, the newest first."""

    async def work(jobs: Client) -> None:
        listing = _Listing(jobs, queue, states, limit, cursor)
        if as_json:
            await print_json_array(listing.jobs())
        else:
            _print([job async for job in listing.jobs()])
        if listing.cursor is not None:
            click.echo(f"more: --cursor {listing.cursor}", err=True)

    with_client(store, work)


class _Listing:
    """Reads page by page. `cursor`: where the next list goes on; None at the end."""

    def __init__(
        self, jobs: Client, queue: str | None, states: Sequence[State], limit: int, cursor: str | None
    ) -> None:
        self._client, self._queue, self._states, self._left = jobs, queue, states, limit
        self.cursor = cursor

    async def jobs(self) -> AsyncIterator[Listing]:
        while self._left > 0:
            page = await self._client.list(self._queue, self._states, min(_PAGE, self._left), self.cursor)
            self.cursor = page.cursor
            self._left -= len(page.jobs)
            for job in page.jobs:
                yield job
            if page.cursor is None:
                return


def _print(jobs: Sequence[Listing]) -> None:
    print_table(("ID", "QUEUE", "NAME", "STATE", "TRIED", "ADDED", "PROGRESS", "ERROR"), [_row(job) for job in jobs])


def _row(job: Listing) -> tuple[object, ...]:
    error = job["error"]
    text = f"{error.get('type')}: {error.get('message')}" if isinstance(error, dict) else ""
    most = "" if job["max_attempts"] is None else f"/{job['max_attempts']}"
    tried = f"{job['attempts_made']}{most}"
    return (job["id"], job["queue"], job["name"], job["state"], tried, age(job["created_at"]), job["progress"], text)
