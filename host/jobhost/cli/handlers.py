"""`jobhost handlers`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .lazy import examples
from .output import print_json, print_table
from .project import bundle_option, load_project
from .session import Store, json_option, store_options

if TYPE_CHECKING:
    from jobhost.catalogue import Entry


@click.command("handlers", epilog=examples("jobhost handlers", "jobhost handlers --json | jq -r '.[].name'"))
@store_options
@bundle_option
@json_option
def command(store: Store, bundles: tuple[Path, ...], as_json: bool) -> None:
    """List the handlers of this project: it starts each bundle once and asks it. Needs no queue."""
    config = load_project(store, bundles)

    from jobhost.logs import printable
    from jobhost.probe import collect

    catalogue = asyncio.run(collect(config))
    for problem in (*catalogue.conflicts, *catalogue.problems):
        click.echo(printable(f"problem: {problem}"), err=True)
    entries = sorted(catalogue.entries, key=lambda entry: (entry.name, entry.queue))
    if as_json:
        print_json([entry.listing() for entry in entries])
    else:
        headers = ("NAME", "QUEUE", "LANGUAGE", "ISOLATION", "VERSION", "FILE", "DESCRIPTION")
        print_table(headers, [_row(entry) for entry in entries])


def _row(entry: Entry) -> tuple[str, ...]:
    file = os.path.relpath(entry.file)
    place = f"{file if not file.startswith('..') else entry.file}{f':{entry.line}' if entry.line else ''}"
    return (entry.name, entry.queue, entry.language, entry.isolation, entry.version, place, entry.description)
