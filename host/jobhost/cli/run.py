"""`jobhost run`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .bar import Bar
from .failure import print_failure
from .lazy import examples
from .lines import log_text
from .output import print_json
from .payload import data_option
from .project import bundle_option, load_project
from .session import Store, store_options

if TYPE_CHECKING:
    from jobhost_runtimes.run import Outcome
    from jobhost_runtimes.services import Line

    from jobhost.config.document import Config


@click.command(
    "run",
    epilog=examples(
        'jobhost run hello --data \'{"name": "you"}\'', "jobhost run import --data @rows.json > result.json"
    ),
)
@click.argument("handler")
@store_options
@bundle_option
@data_option
def command(store: Store, handler: str, bundles: tuple[Path, ...], data: Any) -> None:
    """Run HANDLER once, without a queue: its log on stderr as it comes, its result on stdout. Exit code 1 if it fails."""
    config = load_project(store, bundles)

    from jobhost_sdk.json_values import encode

    from jobhost.listings import value

    show = _Show()
    outcome = asyncio.run(_outcome(config, handler, encode(data, "data"), show))
    show.bar.clear()
    if outcome.error is not None:
        print_failure(None, outcome.error)
        raise click.exceptions.Exit(1)
    print_json(value(outcome.result))


async def _outcome(config: Config, handler: str, data: bytes, show: _Show) -> Outcome:
    from jobhost.errors import UnknownJobTypeError
    from jobhost.logs import printable
    from jobhost.probe import collect, run_once

    try:
        return await run_once(config, handler, data, show.line, show.progress)
    except UnknownJobTypeError:
        for problem in (await collect(config)).problems:  # maybe its file is one that could not be loaded
            click.echo(printable(f"problem: {problem}"), err=True)
        raise


class _Show:
    """What a run says, while it runs."""

    def __init__(self) -> None:
        self.bar = Bar()

    def line(self, line: Line) -> None:
        from jobhost.listings import iso, value

        self.bar.clear()
        listing = {
            "ts": iso(line.ts),
            "level": line.level,
            "message": line.message,
            "fields": value(line.fields),
            "attempt": 1,
            "source": line.source,
        }
        click.echo(log_text(listing), err=True)

    def progress(self, given: bytes) -> None:
        from jobhost.listings import value

        self.bar.show(value(given))
