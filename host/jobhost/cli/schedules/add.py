"""`jobhost schedules add`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import print_json, when
from jobhost.cli.payload import data_option
from jobhost.cli.session import Store, json_option, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client
    from jobhost.listings import Listing

OVERLAPS, CATCH_UPS = ("allow", "skip", "replace"), ("one", "all", "none")


def _moment(_context: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is no date and time: write 2026-12-31T23:00") from error
    return moment.astimezone()  # without an offset it is that of this machine


@click.command(
    "add",
    epilog=examples(
        "jobhost schedules add nightly report --cron '0 2 * * *' --tz Europe/Berlin --overlap skip",
        "jobhost schedules add pulse ping --every 30s --data '{\"n\": 1}'",
        "jobhost schedules add once report --at 2026-12-31T23:00",
    ),
)
@click.argument("id")
@click.argument("job")
@store_options
@data_option
@click.option("--cron", help="Five fields as in cron(8), or six with seconds in front.")
@click.option("--tz", help="The time zone of --cron; UTC by default.")
@click.option("--every", metavar="DURATION", help="An interval: 30s, 15m, 1d.")
@click.option(
    "--at", metavar="TIME", callback=_moment, help="Once; without an offset in the time zone of this machine."
)
@click.option("-q", "--queue", help="The queue; default: the handler's own.")
@click.option(
    "--overlap",
    type=click.Choice(OVERLAPS),
    default="allow",
    show_default=True,
    help="While the job before has not ended.",
)
@click.option(
    "--catch-up",
    type=click.Choice(CATCH_UPS),
    default="one",
    show_default=True,
    help="Of what was missed while no host ran.",
)
@click.option("--jitter", metavar="DURATION", default="0s", help="Each job comes up to so much later.")
@click.option("--priority", type=click.IntRange(0), default=0, help="0 runs first, then 1, 2, …")
@click.option("--attempts", type=click.IntRange(1), help="Most attempts of each job.")
@click.option("--timeout", metavar="DURATION", help="How long one attempt may take.")
@click.option("--paused", is_flag=True, help="Let it begin paused.")
@click.option("--bullmq", is_flag=True, help="On Redis: a job scheduler of BullMQ's own, which Node sees too.")
@json_option
def command(store: Store, id: str, job: str, data: Any, as_json: bool, **options: Any) -> None:
    """Add the schedule ID: each of its ticks gives a job for the handler JOB. One of this id that is there is changed.

    Exactly one of --cron, --every and --at.
    """

    async def work(jobs: Client) -> Listing:
        return await jobs.schedules.put(id, job, data, **options)

    added = with_client(store, work)
    if as_json:
        print_json(added)
    else:
        click.echo(f"{id}: next {when(added['next_at'])}", err=True)
