"""`jobhost dead replay`."""

from __future__ import annotations

import click

from jobhost.cli.bar import Bar
from jobhost.cli.dead.which import check_meant, letters_queue, which_options
from jobhost.cli.lazy import examples
from jobhost.cli.session import Store, store_options, with_client
from jobhost.client import Client
from jobhost.dead_letters import Which
from jobhost.queues.dead_letters import Replayed


@click.command(
    "replay",
    epilog=examples(
        "jobhost dead replay 7 8",
        "jobhost dead replay --from orders --error ConnectionError",
        "jobhost dead replay --all --dry-run",
    ),
)
@click.argument("ids", nargs=-1)
@store_options
@letters_queue
@which_options
@click.option("--all", "all_letters", is_flag=True, help="All letters.")
@click.option("-n", "--limit", type=click.IntRange(0), default=0, help="At most so many, the newest first; 0 is all.")
@click.option("--dry-run", is_flag=True, help="Print the ids of the letters that are meant, and change nothing.")
def command(
    store: Store, ids: tuple[str, ...], queue: str | None, which: Which, all_letters: bool, limit: int, dry_run: bool
) -> None:
    """Let the jobs of dead letters run again, in their old queues, with all their attempts; each letter is gone then. Prints the ids of
    the jobs, or how many there were. What was interrupted goes on when it is done again: no job runs twice."""
    check_meant(ids, which, all_letters)

    async def work(jobs: Client) -> bool:
        if dry_run:
            for id in ids:
                click.echo((await jobs.dead.get(id, queue))["id"])
            if not ids:
                async for letter in jobs.dead.find(which, queue, limit):
                    click.echo(letter["id"])
            return True
        if ids:
            return all([_said(id, await jobs.dead.replay(id, queue)) for id in ids])
        return await _many(jobs, which, queue, limit)

    if not with_client(store, work):
        raise click.exceptions.Exit(1)


async def _many(jobs: Client, which: Which, queue: str | None, limit: int) -> bool:
    bar = Bar()
    total = 0
    async for _ in jobs.dead.find(which, queue, limit):
        total += 1
    replayed, refused = await jobs.dead.replay_all(
        which, queue, limit, lambda done: bar.show(100 * done / max(1, total))
    )
    bar.clear()
    for letter, outcome in refused:
        _said(letter["id"], outcome)
    click.echo(replayed)
    return not refused


def _said(id: str, replayed: Replayed) -> bool:
    """Say what came of one letter; whether its job runs again."""
    if replayed.outcome == "replayed":
        click.echo(replayed.id)
        return True
    why = {
        "alive": f"its job {replayed.id} of queue {replayed.queue} is not failed any more: it was retried already. "
        "The letter is left; `dead purge` deletes it",
        "no_letter": "it is no dead letter",
        "missing": "it is gone: somebody else was quicker",
    }[replayed.outcome]
    click.echo(f"error: letter {id}: {why}", err=True)
    return False
