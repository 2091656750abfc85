"""`jobhost schedules`: verbs for schedules."""

from __future__ import annotations

import click

from jobhost.cli.lazy import LazyGroup

VERBS = {
    "list": ("schedules.list", "List schedules, with when they come next."),
    "add": ("schedules.add", "Add a schedule, or change one."),
    "remove": ("schedules.remove", "Delete schedules."),
    "pause": ("schedules.pause", "Let schedules give no jobs for a while."),
    "resume": ("schedules.resume", "Let paused schedules go on."),
    "run": ("schedules.run", "Give one job now, besides the ticks."),
}


@click.group("schedules", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Jobs that come by the clock. Those of `[schedules.NAME]` in jobhost.toml are listed too, once a host has started with them."""
