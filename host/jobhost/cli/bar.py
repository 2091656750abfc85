"""A progress bar on stderr, on terminals only."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from .output import line_of

_WIDTH = 30


class Bar:
    """Shows a number from 0 to 100 as a bar, and any other value as text behind it. Silent where stderr is no terminal."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._shown = False
        self._percent = 0.0

    def show(self, value: Any) -> None:
        """Draw progress as a handler gives it."""
        if not self._on:
            return
        text = ""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._percent = min(100.0, max(0.0, float(value)))
        else:
            text = "  " + line_of(value)
        full = round(self._percent / 100 * _WIDTH)
        line = f"[{'#' * full}{'-' * (_WIDTH - full)}] {self._percent:3.0f}%{text}"
        self._draw(line[: shutil.get_terminal_size().columns - 1])

    def clear(self) -> None:
        """Take the bar away, before anything else is printed."""
        if self._shown:
            self._draw("")
            self._shown = False

    def _draw(self, line: str) -> None:
        click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        self._shown = True
