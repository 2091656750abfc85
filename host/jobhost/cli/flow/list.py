"""`jobhost flow list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import age, print_json, print_table
from jobhost.cli.session import Store, json_option, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client, FlowPage
    from jobhost.queues.flows import FlowStatus

STATUSES = ("running", "completed", "failed", "cancelled")


@click.command("list", epilog=examples("jobhost flow list --status failed", "jobhost flow list --name orders --json"))
@store_options
@click.option("--name", help="Only flows of this name.")
@click.option(
    "-s",
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(STATUSES),
    help="Only flows that are so (repeatable).",
)
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many flows.")
@click.option("--cursor", help="Go on where an earlier list ended.")
@json_option
def command(
    store: Store, name: str | None, statuses: tuple[FlowStatus, ...], limit: int, cursor: str | None, as_json: bool
) -> None:
    """List flows, the newest first."""

    async def work(jobs: Client) -> FlowPage:
        return await jobs.flows(name, statuses, limit, cursor)

    page = with_client(store, work)
    if as_json:
        print_json(page.flows)
    else:
        rows = [
            (
                flow["id"],
                flow["name"],
                flow["status"],
                age(flow["started_at"]),
                age(flow["finished_at"]),
                _message(flow["error"]),
            )
            for flow in page.flows
        ]
        print_table(("ID", "NAME", "STATUS", "STARTED", "ENDED", "ERROR"), rows)
    if page.cursor is not None:
        click.echo(f"more: --cursor {page.cursor}", err=True)


def _message(error: object) -> str:
    return f"{error.get('type')}: {error.get('message')}" if isinstance(error, dict) else ""
