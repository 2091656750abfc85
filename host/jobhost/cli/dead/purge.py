"""`jobhost dead purge`."""

from __future__ import annotations

import click

from jobhost.cli.bar import Bar
from jobhost.cli.dead.which import check_meant, letters_queue, which_options
from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client
from jobhost.client import Client
from jobhost.dead_letters import Which


@click.command("purge", epilog=examples("jobhost dead purge 7", "jobhost dead purge --older-than 30d --yes"))
@click.argument("ids", nargs=-1)
@store_options
@letters_queue
@which_options
@click.option("--all", "all_letters", is_flag=True, help="All letters.")
@click.option("-n", "--limit", type=click.IntRange(0), default=0, help="At most so many, the newest first; 0 is all.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(
    store: Store, ids: tuple[str, ...], queue: str | None, which: Which, all_letters: bool, limit: int, yes: bool
) -> None:
    """Delete dead letters for good. Prints the ids that are gone, or how many that were."""
    check_meant(ids, which, all_letters)

    async def count(jobs: Client) -> int:
        return sum([1 async for _ in jobs.dead.find(which, queue, limit)])

    async def work(jobs: Client) -> None:
        if ids:
            for id in ids:
                await jobs.dead.purge(id, queue)
                click.echo(id)
            return
        bar = Bar()
        purged = await jobs.dead.purge_all(which, queue, limit, lambda done: bar.show(100 * done / max(1, total)))
        bar.clear()
        click.echo(purged)

    total = len(ids) or with_client(store, count)
    if not ids and not yes:
        click.confirm(f"Delete {total} dead letters?", abort=True, err=True)
    with_client(store, work)
