"""Printing: JSON for programs, tables and times for people. Whatever children wrote is harmless when it comes out here."""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from jobhost.logs import printable

_ESCAPED = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that JSON leaves as they are and a terminal obeys."""

_NARROWEST = 6
"""Columns that no cell is cut below."""


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON that a terminal can show: everything readable stays, everything it would obey is escaped."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(value: Any) -> None:
    """A whole value, indented."""
    click.echo(json_text(value, indent=2))


async def print_json_array(values: AsyncIterator[Any]) -> None:
    """An array, member by member: a hundred thousand jobs need not be in memory at once."""
    first = True
    async for value in values:
        click.echo(("[\n" if first else ",\n") + json_text(value), nl=False)
        first = False
    click.echo("[]" if first else "\n]")


def line_of(value: Any) -> str:
    """A value as one line for people: texts as they are, other values as JSON."""
    if value is None:
        return "-"
    return printable(value if isinstance(value, str) else json_text(value)).replace("\n", " ").replace("\t", " ")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table that fits the terminal; into a pipe nothing is cut."""
    cells = [list(headers), *([line_of(cell) for cell in row] for row in rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(headers))]
    if sys.stdout.isatty():
        _shrink(widths, shutil.get_terminal_size().columns)
    for row in cells:
        line = "  ".join(_cut(cell, width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _shrink(widths: list[int], columns: int) -> None:
    """Narrow the widest column until the line fits, or nothing can be narrowed any more."""
    gaps = 2 * (len(widths) - 1)
    while sum(widths) + gaps > columns and max(widths) > _NARROWEST:
        widest = widths.index(max(widths))
        widths[widest] -= 1


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text + " " * (width - _width(text))
    kept = ""
    for char in text:
        if _width(kept + char) > width - 1:
            break
        kept += char
    return kept + "…" + " " * (width - 1 - _width(kept))


def _width(text: str) -> int:
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def when(iso: str | None) -> str:
    """A time of a listing for people: local, and how long ago."""
    if iso is None:
        return "-"
    then = datetime.fromisoformat(iso)
    return f"{then.astimezone():%Y-%m-%d %H:%M:%S} ({age(iso)})"


def age(iso: str | None) -> str:
    """How long ago, in one unit: `3s ago`, `in 5m`."""
    if iso is None:
        return "-"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(iso)).total_seconds()
    size = abs(seconds)
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if size >= length:
            text = f"{size / length:.0f}{unit}"
            break
    else:
        text = f"{size:.0f}s"
    return f"in {text}" if seconds < -1 else f"{text} ago"
