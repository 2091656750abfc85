"""`jobhost handlers`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .lazy import LazyGroup, examples
from .output import print_json, print_table
from .project import bundle_option, load_project
from .session import Store, json_option, store_options

if TYPE_CHECKING:
    from jobhost.catalogue import Entry
    from jobhost.config.document import Config
    from jobhost.listings import Listing


@click.group(
    "handlers",
    cls=LazyGroup,
    verbs={"forget": ("handlers_forget", "Forget published handlers and what they subscribe to.")},
    invoke_without_command=True,
    epilog=examples(
        "jobhost handlers", "jobhost handlers --json | jq -r '.[].name'", "jobhost handlers forget old.name"
    ),
)
@store_options
@bundle_option
@json_option
@click.pass_context
def command(context: click.Context, store: Store, bundles: tuple[Path, ...], as_json: bool) -> None:
    """List the handlers of this project: it starts each bundle once and asks it. Needs no queue.

    Where the queue can be reached, breakers that are open at running hosts are told too. With --json each handler has its schemas.
    """
    if context.invoked_subcommand is not None:
        return
    config = load_project(store, bundles)

    from jobhost.logs import printable
    from jobhost.probe import collect

    published, breakers = asyncio.run(told_by_hosts(config))
    catalogue = asyncio.run(collect(config, published))
    for problem in (*catalogue.conflicts, *catalogue.problems, *breakers):
        click.echo(printable(f"problem: {problem}"), err=True)
    entries = sorted(catalogue.entries, key=lambda entry: (entry.name, entry.queue))
    if as_json:
        print_json([{**entry.listing(), "schemas": entry.schemas()} for entry in entries])
    else:
        headers = ("NAME", "QUEUE", "LANGUAGE", "ISOLATION", "VERSION", "FILE", "DESCRIPTION")
        print_table(headers, [_row(entry) for entry in entries])


async def told_by_hosts(config: Config) -> tuple[set[str], list[str]]:
    """What hosts have published, and what running ones say of bundles whose children do not start; nothing if there is no queue
    to ask."""
    from jobhost.client import Client
    from jobhost.config.urls import sqlite_path
    from jobhost.errors import JobhostError

    kind = config.queue_url.partition(":")[0]
    if kind == "memory" or (kind == "sqlite" and not sqlite_path(config.queue_url).exists()):
        return set(), []
    try:
        async with Client(config=config) as jobs:
            return {handler["name"] for handler in await jobs.handlers()}, _breakers(await jobs.hosts())
    except JobhostError:
        return set(), []  # asked for handlers, which need no queue


def _breakers(hosts: list[Listing]) -> list[str]:
    return [
        f"host {host['id']}: the breaker of bundle {bundle['name']} is open after {bundle['breaker']['failures']} failed "
        f"starts; its jobs wait: {bundle['breaker']['error']}"
        for host in hosts
        for bundle in host.get("bundles", ())
        if bundle.get("breaker")
    ]


def _row(entry: Entry) -> tuple[str, ...]:
    file = os.path.relpath(entry.file)
    place = f"{file if not file.startswith('..') else entry.file}{f':{entry.line}' if entry.line else ''}"
    return (entry.name, entry.queue, entry.language, entry.isolation, entry.version, place, entry.description)
