"""`jobhost enqueue`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from jobhost_sdk.durations import milliseconds

from jobhost.client import Client
from jobhost.errors import JobFailedError
from jobhost.handles import JobHandle

from .bar import Bar
from .failure import print_failure
from .lazy import examples
from .output import print_json
from .payload import data_option
from .session import Store, store_options, with_client

_BATCH = 1_000
"""Jobs stored in one step."""


def _duration(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    try:
        if given not in (None, "none"):
            milliseconds(int(given) if given.isascii() and given.isdigit() else given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return given


def _metadata(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> dict[str, str] | None:
    pairs = [pair.partition("=") for pair in given]
    for key, equals, _value in pairs:
        if not (key and equals):
            raise click.BadParameter(f"{key!r} is no pair: write KEY=VALUE")
    return {key: value for key, _equals, value in pairs} or None


@click.command(
    "enqueue",
    epilog=examples(
        "jobhost enqueue image.resize --data '{\"width\": 80}'",
        "jobhost enqueue report --data @month.json --delay 5m --attempts 5",
        "jobhost enqueue hello --wait",
        "generate | jobhost enqueue import --data - --id import-7 --meta by=cron",
    ),
)
@click.argument("name")
@store_options
@click.option("-q", "--queue", help="Default: the handler's own queue where a host has published it, else `default`.")
@data_option
@click.option("--delay", callback=_duration, metavar="DURATION", help="Not before so long: 500ms, 30s, 5m.")
@click.option("--priority", type=int, default=0, help="0 runs first, then 1, 2, … (BullMQ's rule).  [default: 0]")
@click.option("--lifo", is_flag=True, help="Before the other jobs of its priority.")
@click.option("--attempts", type=int, help="How often it is tried in all.")
@click.option("--backoff", callback=_duration, metavar="DURATION", help="A fixed time between attempts.")
@click.option(
    "--timeout", callback=_duration, metavar="DURATION", help='How long one attempt may take; "none": no limit.'
)
@click.option("--id", help="An id of your own: a second job of it is the first one.")
@click.option("--handler-version", "version", metavar="VERSION", help="Of the handler: 2, 2.1; default: the newest.")
@click.option(
    "--meta", "metadata", multiple=True, callback=_metadata, metavar="KEY=VALUE", help="Metadata (repeatable)."
)
@click.option("--count", type=click.IntRange(1), default=1, help="Add so many jobs of this kind.")
@click.option("--wait", is_flag=True, help="Follow the job and print its result; exit code 1 if it fails.")
def command(store: Store, name: str, data: Any, count: int, wait: bool, **options: Any) -> None:
    """Add a job for the handler NAME, and print its id."""
    if options["id"] is not None and count > 1:
        raise click.UsageError("--id names one job: it can't go with --count")

    async def work(jobs: Client) -> bool:
        await _warn_if_unknown(jobs, name, options["queue"])
        handles = await _add(jobs, {"name": name, "data": data, **options}, count)
        if not wait:
            click.echo("\n".join(handle.id for handle in handles))
            return True
        await _warn_if_alone(jobs)
        return await _wait_for(handles)

    if not with_client(store, work):
        raise click.exceptions.Exit(1)


async def _add(jobs: Client, job: dict[str, Any], count: int) -> list[JobHandle]:
    handles: list[JobHandle] = []
    bar = Bar()
    while len(handles) < count:
        handles += await jobs.enqueue_many([job] * min(_BATCH, count - len(handles)))
        if count > _BATCH:
            bar.show(100 * len(handles) / count)
    bar.clear()
    return handles


async def _warn_if_unknown(jobs: Client, name: str, queue: str | None) -> None:
    if queue is None and await jobs.published_queue(name) is None:
        text = f"warning: no host has published a handler named {name!r}; the job goes to queue `default` (--queue names another)"
        click.echo(text, err=True)


async def _warn_if_alone(jobs: Client) -> None:
    if not await jobs.hosts():
        click.echo(
            "no host is running: waiting for one (`jobhost serve`); Ctrl-C leaves the job in its queue", err=True
        )


async def _wait_for(handles: Sequence[JobHandle]) -> bool:
    """Print each result when it is there; False if a job failed."""
    bar = Bar()
    ok = True
    for number, handle in enumerate(handles):
        if len(handles) == 1:
            async for value in handle.progress():
                bar.show(value)
        else:
            bar.show(100 * number / len(handles))
        try:
            result = await handle.result()
        except JobFailedError as error:
            bar.clear()
            print_failure(handle.id, error.error)
            ok = False
        else:
            bar.clear()
            print_json(result)
    return ok
