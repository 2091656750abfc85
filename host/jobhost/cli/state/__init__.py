"""`jobhost state`: what handlers keep with `ctx.state`."""

from __future__ import annotations

import click

from jobhost.cli.lazy import LazyGroup

VERBS = {
    "list": ("state.list", "List scopes, or the keys of one."),
    "get": ("state.get", "Print a value."),
    "set": ("state.set", "Store a value."),
    "diff": ("state.diff", "Tell what differs between two scopes."),
}


@click.group("state", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Read and set what handlers keep. Scopes: `global`, `handler:BUNDLE:NAME`, `flow:ID`, and each job's own."""
