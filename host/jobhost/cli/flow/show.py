"""`jobhost flow show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from jobhost.cli.flow.timeline import event_text
from jobhost.cli.flow.tree import lines_of, tree_of
from jobhost.cli.lazy import examples
from jobhost.cli.output import json_text, line_of, print_json, when
from jobhost.cli.session import Store, json_option, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client
    from jobhost.flow_handles import FlowHandle
    from jobhost.listings import Listing

_EVENTS = 50


@click.command("show", epilog=examples("jobhost flow show 018f3a2b77c5a1b2c3d4e5", "jobhost flow show ID -f"))
@click.argument("id")
@store_options
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until the flow has ended.")
@click.option("--all", "everything", is_flag=True, help=f"All events, not only the last {_EVENTS}.")
@json_option
def command(store: Store, id: str, follow: bool, everything: bool, as_json: bool) -> None:
    """Show a flow: its steps as a tree, then what happened, line by line. With -f --json one event a line."""

    async def work(jobs: Client) -> None:
        flow = jobs.flow(id)
        whole = await _whole(flow)
        if as_json and not follow:
            print_json(whole)
        elif not as_json:
            for line in _text(whole, everything):
                click.echo(line)
        if follow:
            after = 0 if as_json or not whole["events"] else whole["events"][-1]["id"]
            async for event in flow.follow(after):
                click.echo(json_text(event) if as_json else f"  {event_text(event)}")

    with_client(store, work)


async def _whole(flow: FlowHandle) -> dict[str, Any]:
    """A flow with its jobs, sub-flows and events."""
    info = await flow.info()
    parts = {"jobs": await flow.jobs(), "children": await flow.children(), "events": await flow.events()}
    return {**info, **parts}


def _text(flow: Listing, everything: bool) -> Iterator[str]:
    yield f"flow {line_of(flow['id'])}"
    facts = {
        "name": flow["name"],
        "status": flow["status"],
        "started": when(flow["started_at"]),
        "ended": when(flow["finished_at"]) if flow["finished_at"] else None,
        "parent": flow["parent"],
        "data": flow["data"],
    }
    for label, fact in facts.items():
        if fact is not None:
            yield f"  {label:<9}{line_of(fact)}"
    if isinstance(error := flow["error"], dict):
        yield f"  {'error':<9}{line_of(error.get('type'))}: {line_of(error.get('message'))}"
    yield "steps"
    yield from (f"  {line}" for line in lines_of(tree_of(flow["jobs"], flow["events"], flow["children"])))
    events = flow["events"] if everything else flow["events"][-_EVENTS:]
    left_out = len(flow["events"]) - len(events)
    yield "events" if not left_out else f"events, the last {len(events)} of {len(flow['events']):,} (--all for all)"
    yield from (f"  {event_text(event)}" for event in events)
