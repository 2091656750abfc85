"""`jobhost queues`: verbs for whole queues."""

from __future__ import annotations

import click

from jobhost.cli.lazy import LazyGroup

VERBS = {
    "list": ("queues.list", "List queues with the number of jobs in each state."),
    "pause": ("queues.pause", "Let no host take jobs from queues."),
    "resume": ("queues.resume", "End a pause."),
    "drain": ("queues.drain", "Delete the jobs that wait."),
    "clean": ("queues.clean", "Delete finished jobs by age and count."),
    "remove": ("queues.remove", "Delete a queue with all its jobs."),
}


@click.group("queues", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Look at queues and steer them, on every host at once."""
