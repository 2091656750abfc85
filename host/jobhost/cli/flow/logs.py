"""`jobhost flow logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.lines import LEVELS, log_text
from jobhost.cli.output import json_text, line_of
from jobhost.cli.session import Store, json_option, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client


@click.command("logs", epilog=examples("jobhost flow logs ID -f", "jobhost flow logs ID --step charge --level warning"))
@click.argument("id")
@store_options
@click.option("--step", help="Only lines of this step.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Only lines of this level and above.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until the flow has ended.")
@json_option
def command(store: Store, id: str, step: str | None, level: str, follow: bool, as_json: bool) -> None:
    """Print the log lines of all jobs of a flow, in the order of their times; with --json one object a line."""
    from jobhost.tail import flow_lines

    async def work(jobs: Client) -> None:
        async for line in flow_lines(jobs, id, step=step, level=level, follow=follow):
            click.echo(json_text(line) if as_json else f"{line_of(line['step']):<12} {log_text(line)}")

    with_client(store, work)
