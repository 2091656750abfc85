"""`jobhost schedules list`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import age, print_json, print_table
from jobhost.cli.session import Store, json_option, store_options, with_client
from jobhost.listings import Listing


@click.command("list", epilog=examples("jobhost schedules list", "jobhost schedules list --json | jq -r '.[].next_at'"))
@store_options
@json_option
def command(store: Store, as_json: bool) -> None:
    """List schedules, by id; on Redis BullMQ's job schedulers too."""
    found = with_client(store, lambda jobs: jobs.schedules.list())
    if as_json:
        print_json(found)
        return
    headers = ("ID", "JOB", "QUEUE", "WHEN", "NEXT", "LAST", "RUNS", "SKIPPED", "")
    print_table(headers, [_row(schedule) for schedule in found])


def _row(schedule: Listing) -> tuple[object, ...]:
    if schedule["cron"] is not None:
        when = f"{schedule['cron']} {schedule['tz'] or 'UTC'}"
    else:
        when = f"every {schedule['every']}" if schedule["every"] is not None else f"at {schedule['at']}"
    told = [word for word in ("paused", "bullmq") if schedule[word]] + (["written"] if schedule["source"] else [])
    times = (age(schedule["next_at"]), age(schedule["last_at"]))
    counts = (schedule["runs"], schedule["skipped"])
    return (schedule["id"], schedule["job"], schedule["queue"], when, *times, *counts, ", ".join(told))
