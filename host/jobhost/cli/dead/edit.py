"""`jobhost dead edit`."""

from __future__ import annotations

from typing import Any

import click

from jobhost.cli.dead.which import letters_queue
from jobhost.cli.lazy import examples
from jobhost.cli.output import json_text
from jobhost.cli.payload import data_option, json_value
from jobhost.cli.session import Store, store_options, with_client


@click.command(
    "edit", epilog=examples("""jobhost dead edit 7 --data '{"amount": 12}'""", "jobhost dead edit 7   # in your editor")
)
@click.argument("id")
@store_options
@letters_queue
@data_option
@click.pass_context
def command(context: click.Context, store: Store, id: str, queue: str | None, data: Any) -> None:
    """Give a dead letter's job other data, for its replay; without --data in your editor. Prints the id."""
    if context.get_parameter_source("data") is click.core.ParameterSource.DEFAULT:
        letter = with_client(store, lambda jobs: jobs.dead.get(id, queue))
        edited = click.edit(json_text(letter["data"], indent=2) + "\n", extension=".json")
        if edited is None:
            raise click.UsageError("nothing was changed: the editor did not save")
        data = json_value(edited)
    with_client(store, lambda jobs: jobs.dead.edit(id, data, queue))
    click.echo(id)
