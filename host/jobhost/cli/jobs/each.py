"""What the verbs that change jobs share: several ids, each done by itself, and exit code 1 if one could not be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import click

from jobhost.cli.session import Store, with_client
from jobhost.client import Client
from jobhost.errors import JobActiveError


def for_each(
    store: Store, ids: Sequence[str], queue: str, change: Callable[[Client, str], Awaitable[str | None]]
) -> None:
    """Change each job. `change` gives None if it is done, else why it can't be. Prints the ids that are done."""

    async def work(jobs: Client) -> bool:
        return all([await _done(jobs, id) for id in ids])

    async def _done(jobs: Client, id: str) -> bool:
        try:
            problem = await change(jobs, id)
        except JobActiveError as error:
            problem = str(error)
        if problem is None:
            click.echo(id)
        else:
            click.echo(f"error: job {id} of queue {queue}: {problem}", err=True)
        return problem is None

    if not with_client(store, work):
        raise click.exceptions.Exit(1)


async def why_not(jobs: Client, id: str, queue: str, needed: str) -> str:
    """Say why a job is not in the state that a change needs."""
    job = await jobs.backend.get(queue, id)
    return "there is no such job" if job is None else f"it is {job.state}, not {needed}"
