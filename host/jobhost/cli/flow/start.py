"""`jobhost flow start`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobhost.cli.failure import print_failure
from jobhost.cli.flow.timeline import event_text
from jobhost.cli.lazy import examples
from jobhost.cli.payload import data_option
from jobhost.cli.project import bundle_option, load_project
from jobhost.cli.session import Store, store_options, with_client

if TYPE_CHECKING:
    from jobhost.catalogue import Catalogue
    from jobhost.client import Client
    from jobhost.queues.flows import Subscriber


@click.command(
    "start",
    epilog=examples(
        "jobhost flow start orders --data '{\"id\": 7}'", "jobhost flow start orders --data @order.json --wait"
    ),
)
@click.argument("name")
@store_options
@bundle_option
@data_option
@click.option("--id", help="An id of your own: a second start of it changes nothing.")
@click.option("--wait", is_flag=True, help="Follow the flow until it has ended; exit code 1 if it fails.")
def command(store: Store, name: str, bundles: tuple[Path, ...], data: Any, id: str | None, wait: bool) -> None:
    """Start the flow NAME: each handler of it that subscribes to nothing gets a job. Prints the flow's id on the last line.

    The handlers are those of this project, or where it has none those that hosts have published.
    """
    from jobhost.errors import FlowFailedError

    first = _first_steps(store, bundles, name)

    async def work(jobs: Client) -> bool:
        flow = await jobs.start_flow(name, data, id=id, first=first)
        if not flow.created:
            click.echo(f"flow {flow.id} is there already, and was left as it is", err=True)
        ok = True
        if wait:
            if not await jobs.hosts():
                click.echo(
                    "no host is running: waiting for one (`jobhost serve`); Ctrl-C leaves the flow as it is", err=True
                )
            async for event in flow.follow():
                click.echo(event_text(event), err=True)
            try:
                await flow.result()
            except FlowFailedError as error:
                print_failure(flow.id, error.error)
                ok = False
        click.echo(flow.id)
        return ok

    if not with_client(store, work):
        raise click.exceptions.Exit(1)


def _first_steps(store: Store, bundles: tuple[Path, ...], name: str) -> list[Subscriber] | None:
    """The flow's first steps in this project; None if there is no project here."""
    from jobhost.errors import ConfigurationError, UnknownFlowError
    from jobhost.queues.flows import Subscriber

    loaded = store.load(bundles=bundles).config
    if not loaded.bundles:
        return None
    catalogue = asyncio.run(_collected(store, bundles))
    if catalogue.conflicts:
        raise ConfigurationError("\n".join(map(str, catalogue.conflicts)))
    begins = [
        (entry.settings.flow.name, entry)
        for entry in catalogue.entries
        if entry.settings.flow is not None
        and entry.settings.flow.name is not None
        and not entry.settings.flow.subscribes
    ]
    first = [Subscriber(entry.name, entry.queue) for flow, entry in begins if flow == name]
    if not first:
        raise UnknownFlowError(name, [flow for flow, _ in begins if flow is not None])
    return sorted(first)


async def _collected(store: Store, bundles: tuple[Path, ...]) -> Catalogue:
    from jobhost.probe import collect

    return await collect(load_project(store, bundles))
