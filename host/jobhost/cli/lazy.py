"""A click group whose verbs are imported only when they run: `jobhost --help` and `jobhost enqueue` pay for nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

Verbs = Mapping[str, tuple[str, str]]
"""Verb -> (module below `jobhost.cli`, one line of help). The module's `command` is the verb."""


class LazyGroup(click.Group):
    """Adding a verb is one new file and one line in its group's `verbs`."""

    def __init__(self, *args: Any, verbs: Verbs, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        command = import_module(f"jobhost.cli.{self._verbs[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest verb for one that is not there."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._verbs, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no verb {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does it, but from the lines given here: it would import every verb for its help."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_module, text) in self._verbs.items()])


def examples(*lines: str) -> str:
    """An epilog of examples, which click leaves as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
