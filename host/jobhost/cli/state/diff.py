"""`jobhost state diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobhost.cli.lazy import examples
from jobhost.cli.output import line_of, print_json
from jobhost.cli.session import Store, json_option, store_options, with_client

if TYPE_CHECKING:
    from jobhost.client import Client

_MISSING = object()


@click.command(
    "diff", epilog=examples("jobhost state diff flow:018f3a flow:018f3b", "jobhost state diff global flow:ID --json")
)
@click.argument("scope")
@click.argument("other")
@store_options
@json_option
def command(store: Store, scope: str, other: str, as_json: bool) -> None:
    """Tell what differs between two scopes, key by key: `-` stands before what SCOPE has, `+` before what OTHER has.

    Exit code 1 if anything differs.
    """

    async def work(jobs: Client) -> dict[str, dict[str, Any]]:
        keys = {key async for key in jobs.state.keys(scope)} | {key async for key in jobs.state.keys(other)}
        found = {}
        for key in sorted(keys):
            pair = [await jobs.state.get(each, key, _MISSING) for each in (scope, other)]
            if pair[0] is _MISSING or pair[1] is _MISSING or pair[0] != pair[1]:
                found[key] = {side: value for side, value in zip("-+", pair, strict=True) if value is not _MISSING}
        return found

    differs = with_client(store, work)
    if as_json:
        print_json(
            {
                key: {scope: sides.get("-"), other: sides.get("+")} if scope != other else {}
                for key, sides in differs.items()
            }
        )
    else:
        for key, sides in differs.items():
            for side, value in sides.items():
                click.echo(f"{side} {line_of(key)} {line_of(value) if value is not None else 'null'}")
    if differs:
        raise click.exceptions.Exit(1)
