"""`--data`: JSON on the command line, in a file (`@FILE`), or on stdin (`-`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from jobhost_sdk.json_values import decode

from .session import Verb


def data_option(verb: Verb) -> Verb:
    """Give a verb `--data`, as its argument `data`: the value, null by default."""
    text = "The job's data: JSON, @FILE, or - for stdin.  [default: null]"
    return click.option("-d", "--data", metavar="JSON|@FILE|-", callback=_parsed, help=text)(verb)


def _parsed(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Any:
    if given is None:
        return None
    try:
        return decode(_read(given))
    except OSError as error:
        raise click.BadParameter(f"{given[1:]} cannot be read: {error.strerror}") from error
    except ValueError as error:
        hint = "" if given.startswith(("@", "-")) else "; a text needs quotes of its own: --data '\"text\"'"
        raise click.BadParameter(f"is not JSON: {error}{hint}") from error


def json_value(text: str) -> Any:
    """The value of JSON that was given as an argument. Raises click.BadParameter."""
    try:
        return decode(text.encode(errors="surrogateescape"))
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}; a text needs quotes of its own: '\"text\"'") from error


def _read(given: str) -> bytes:
    if given == "-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        return Path(given[1:]).read_bytes()
    return given.encode(errors="surrogateescape")
