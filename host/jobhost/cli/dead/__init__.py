"""`jobhost dead`: verbs for jobs that failed for good and were copied to a queue of dead letters."""

from __future__ import annotations

import click

from jobhost.cli.lazy import LazyGroup

VERBS = {
    "list": ("dead.list", "List dead letters, the newest first."),
    "show": ("dead.show", "Show all of one: where it comes from, its error, its data."),
    "edit": ("dead.edit", "Give one other data, for its replay."),
    "replay": ("dead.replay", "Let the jobs of letters run again."),
    "purge": ("dead.purge", "Delete letters."),
}


@click.group("dead", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Look at jobs that failed for good, mend them and let them run again. A queue keeps them where its `dead_letter` says."""
