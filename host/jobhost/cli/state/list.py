"""`jobhost state list`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import line_of, print_json
from jobhost.cli.session import Store, json_option, store_options, with_client
from jobhost.client import Client


@click.command("list", epilog=examples("jobhost state list", "jobhost state list global --json"))
@click.argument("scope", required=False)
@store_options
@json_option
def command(store: Store, scope: str | None, as_json: bool) -> None:
    """List the scopes that hold anything, or the keys of one scope."""

    async def work(jobs: Client) -> list[str]:
        if scope is None:
            return await jobs.state.scopes()
        return [key async for key in jobs.state.keys(scope)]

    found = with_client(store, work)
    if as_json:
        print_json(found)
        return
    for name in found:
        click.echo(line_of(name))
