"""A failed job's error, on stderr."""

from __future__ import annotations

from typing import Any

import click

from jobhost.logs import printable


def print_failure(id: str | None, error: dict[str, Any]) -> None:
    """Type, message, fields of invalid data, and the stack."""
    what = "failed" if id is None else f"job {id} failed"
    click.echo(printable(f"{what}: {error.get('type', 'Error')}: {error.get('message', '')}"), err=True)
    for entry in error.get("fields") or ():
        click.echo(printable(f"  {entry.get('field')}: {entry.get('message')}"), err=True)
    if error.get("stack"):
        click.echo(printable(str(error["stack"])).rstrip(), err=True)
